/**
 * Configuration of a source (DESIGN §3: "Sources are configuration"), with every default filled in: what transports, intake and
 * readers work with. It never changes; a change of the source makes another one with a higher version, and whoever holds one goes
 * on with what a message came by. docs/sources.md holds the table of settings.
 */
import type { SourceCodeTable } from './sources/code-tables.js';

/** How messages of a source come in. The set is open: a transport adds its kind here. */
export const SOURCE_KINDS = ['mllp', 'http', 'file'] as const;

export interface SourceConfiguration {
  readonly id: string;
  /** One of {@link SOURCE_KINDS}. */
  readonly kind: string;
  /** A source that is not takes nothing: each message is refused with SOURCE_DISABLED and nothing of it is stored. */
  readonly enabled: boolean;
  /** A paused source's senders wait (MLLP), or are told to come again (HTTP 503); nothing is refused for good. */
  readonly paused: boolean;
  /** Counts the changes of its settings, from 1; stands in the envelope of every message. */
  readonly version: number;
  /** What the source is, in the engineer's words; no patient data. */
  readonly description?: string;
  /** Tenant of its messages, where it is not the hub's: data of another tenant never matches. */
  readonly tenant?: string;
  /** Stands in every envelope. */
  readonly facility?: string;
  /** Character set where the message states none. */
  readonly charset: string;
  /** Character set of every message, whatever it states: for senders whose MSH-18 is wrong. */
  readonly charsetOverride?: string;
  /** IANA zone of times without offset. */
  readonly timeZone: string;
  /** Assigning authority of identifiers that state none. */
  readonly defaultAuthority: string;
  /** Names of assigning authorities as this source writes them → as the hub calls them. */
  readonly authorityAliases: Readonly<Record<string, string>>;
  /** Identifier types (HL7 table 0203) that name one person for certain within their authority; an untyped PID-3 counts as MR. */
  readonly trustedIdentifierTypes: readonly string[];
  /** Assigning authorities (as the hub calls them) whose identifiers are trusted; absent: all. */
  readonly trustedAuthorities?: readonly string[];
  /** `auto`: by MSH-15/16 of each message; `original`, `enhanced`: in that mode whatever they say (HL7 v2.9 §2.9.2). */
  readonly ackMode: 'original' | 'enhanced' | 'auto';
  /** Where application acknowledgements of enhanced mode go; absent: they are not sent. */
  readonly returnConnection?: SourceReturnConnection;
  /** What a sender gets for a message that was kept but parked: AE/AR, or AA for engines that stop at an AE. */
  readonly onParked: 'error' | 'accept';
  /** Obey MSH-15/16 NE, ER and SU (silence); otherwise every frame gets an answer. */
  readonly honourNever: boolean;
  /** Kind `mllp`: where it listens. Sources may share an address where client certificates or sender addresses tell them apart. */
  readonly listener?: SourceListener;
  /** Kind `file`: a folder that is watched. */
  readonly folder?: SourceFolder;
  /** Absent: as fast as the hub can. */
  readonly rateLimit?: SourceRateLimit;
  /** Messages of the source received and not yet answered; beyond it the sender waits, or is told to (429). */
  readonly queueBound: number;
  /** Most messages of the source in the pipeline at a time. */
  readonly workers: number;
  /** A sender that has waited this long for its answer is told to send again. */
  readonly messageTimeoutSeconds: number;
  /** Message types that it may send (`ADT^A01`, `ADT^*`, `Bundle`, `patient.*`); others are kept and parked as TYPE_NOT_ALLOWED. Absent: all. */
  readonly allowedTypes?: readonly string[];
  readonly conformance: SourceConformance;
  /** Local codes of the source and what they are in LOINC, SNOMED CT, ICD-10 (docs/mapping.md); absent: its codes stay alone. */
  readonly codeTables?: readonly SourceCodeTable[];
  /** Largest MLLP frame. */
  readonly maxFrameBytes: number;
  /** MLLP connections of the source open at a time. */
  readonly maxConnections: number;
  /** An MLLP connection without a byte for so long is closed. */
  readonly idleSeconds: number;
}

/** Files are named, never held: no secret stands in a setting. */
export interface SourceTls {
  /** PEM files; the hub's own (`tls.*` of the configuration) where absent. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Authorities that sign the peers' certificates. */
  readonly caFile?: string;
}

export interface SourceListener {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Present: TLS 1.2 or newer. */
  readonly tls?: SourceTls;
  /** Names of client certificates that may send: subject common names, or `sha256:` and the fingerprint. Absent: no certificate is asked for. */
  readonly clientCertificates?: readonly string[];
  /** Addresses, or networks in CIDR notation (RFC 4632 §3.1), that may send. Absent: all. */
  readonly allowAddresses?: readonly string[];
}

export interface SourceReturnConnection {
  readonly host: string;
  readonly port: number;
  readonly tls?: SourceTls;
}

export interface SourceFolder {
  /** Absolute. */
  readonly path: string;
  /** Names that are picked up: `*` any characters, `?` one. */
  readonly pattern: string;
  /** Where files go when they are done; relative ones start from `path`. */
  readonly doneFolder: string;
  /** Where files go that could not be taken. */
  readonly errorFolder: string;
}

export interface SourceRateLimit {
  /** In the long run. */
  readonly messagesPerSecond: number;
  /** At once, after a pause. */
  readonly burst: number;
}

export interface SourceConformance {
  /** `warn`: a message that breaks a rule is flagged; `reject`: it is kept and parked. */
  readonly mode: 'off' | 'warn' | 'reject';
  readonly rules: readonly ConformanceRule[];
}

/** One rule about one place of HL7 v2 messages (docs/conformance.md). */
export interface ConformanceRule {
  /** Message types that it is about, `ADT^A01` or `ADT^*`; absent: all. */
  readonly messages?: readonly string[];
  /** `PID`, `PID-3`, `PID-3.1`, `PID-3.4.2`. A rule about a field speaks of every segment of that name that is there. */
  readonly path: string;
  /** Only segments in which another field (or the same) has one of these values. */
  readonly where?: ConformanceCondition;
  /** The place must be there and valued; `""` is no value. */
  readonly required?: boolean;
  /** The place must not be valued. */
  readonly forbidden?: boolean;
  /** HL7 data type that every value there must be of: `NM`, `DT`, `DTM`, `CX`, …; `VARIES`: that of OBX-2. */
  readonly type?: string;
  /** Values that may stand there, or the number of the HL7 table that holds them. */
  readonly table?: string | readonly string[];
  /** Fewest and most segments of a name, repetitions of a field. */
  readonly min?: number;
  readonly max?: number;
  /** Most characters of each repetition. */
  readonly maxLength?: number;
}

export interface ConformanceCondition {
  /** `OBX-2`: a place in the same segment. */
  readonly path: string;
  readonly values: readonly string[];
}

/**
 * What a person may say about a source: in `anamnesis.yaml`, in a file for `sources apply`, in `setSource`. What is not said has its default.
 */
export type SourceSettings = {
  readonly [name in Exclude<keyof SourceConfiguration, 'id' | 'version'>]?: SourceConfiguration[name];
};

/** Defaults that come from the hub's configuration. */
export interface SourceDefaults {
  readonly timeZone: string;
  /** Address of the built-in source `mllp`. */
  readonly mllp?: { readonly host: string; readonly port: number };
  readonly maxFrameBytes?: number;
}

/** Sources that are there without anybody having made them. */
export const BUILT_IN_SOURCES = ['mllp', 'http', 'file'] as const;
export type BuiltInSource = (typeof BUILT_IN_SOURCES)[number];

export function isBuiltIn(id: string): id is BuiltInSource {
  return (BUILT_IN_SOURCES as readonly string[]).includes(id);
}

const MIB = 1024 * 1024;

/** Settings with every default filled in. A source that was not told its kind is of kind `http`; the built-in ones are of their own. */
export function resolveSource(
  id: string,
  version: number,
  settings: SourceSettings,
  defaults: SourceDefaults,
): SourceConfiguration {
  const listener = id === 'mllp' && defaults.mllp !== undefined ? { listener: { ...defaults.mllp } } : {};
  return {
    kind: isBuiltIn(id) ? id : 'http',
    enabled: true,
    paused: false,
    charset: 'UTF-8',
    timeZone: defaults.timeZone,
    defaultAuthority: id,
    authorityAliases: {},
    trustedIdentifierTypes: ['MR', 'MRN', 'PI', 'PT', 'EPI', 'NHS', 'NHSNMBR', 'MC', 'HC', 'JHN', 'NI'],
    ackMode: 'auto',
    onParked: 'error',
    honourNever: false,
    queueBound: 20_000,
    workers: 20_000,
    messageTimeoutSeconds: 20,
    conformance: { mode: 'off', rules: [] },
    maxFrameBytes: defaults.maxFrameBytes ?? 50 * MIB,
    maxConnections: 8_192,
    idleSeconds: 3_600,
    ...listener,
    ...settings,
    id,
    version,
  };
}

/** A built-in source as it is without any settings. */
export function builtInSource(id: BuiltInSource, timeZone = 'UTC'): SourceConfiguration {
  return resolveSource(id, 1, {}, { timeZone });
}
