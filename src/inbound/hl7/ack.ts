/**
 * Answers to HL7 v2 messages (HL7 v2.9 §2.9.2, §2.9.3, §2.13). Pure and deterministic: the same message and outcome give the same bytes,
 * so a replay gets the answer of the original. Nothing of the message is repeated but its header's addresses, ids and the
 * control id; the trigger only where it looks like one.
 */
import { hash } from 'node:crypto';
import type { BatchEnvelope } from './batch.js';
import { charsetNamed, UTF_8 } from './charset.js';
import { escapeText } from './escapes.js';
import type { Hl7Message, Hl7Segment, Hl7Separators } from './message.js';
import { DEFAULT_SEPARATORS } from './reader.js';

export interface AckProblem {
  /** Stable and documented: docs/inbound.md. */
  readonly code: string;
  /** `PID-5`, `OBX[3]-14`, `PID-3.4.2`. */
  readonly path?: string;
  readonly byteOffset?: number;
}

export interface Answer {
  readonly code: 'AA' | 'AE' | 'AR';
  readonly problem?: AckProblem;
  /** The hub's event id; the answer's own control id comes from it. */
  readonly messageId: string;
  /** Instant; the time of the answer (MSH-7), so that it is the same whenever it is given. */
  readonly recordedAt: string;
}

/** Version of an answer to something that states none. */
const DEFAULT_VERSION = '2.5.1';
/** Addresses longer than any version allows (HD: 227 characters) are not repeated. */
const LONGEST_ADDRESS = 500;

/** The conditions of MSH-15 and MSH-16, HL7 table 0155; '' where both are silent, which is original mode. */
interface Acknowledgment {
  readonly accept: string;
  readonly application: string;
}

function acknowledgment(header: Hl7Segment | undefined): Acknowledgment {
  return {
    accept: header?.text(15).trim().toUpperCase() ?? '',
    application: header?.text(16).trim().toUpperCase() ?? '',
  };
}

/** How a source wants its messages acknowledged: its configuration, as far as it matters here. */
export interface AckPolicy {
  /** `auto`: by MSH-15/16 of each message; `original`, `enhanced`: in that mode whatever they say. */
  readonly mode: 'original' | 'enhanced' | 'auto';
  /** Application acknowledgments go out over a return connection. */
  readonly returned: boolean;
}

const BY_MESSAGE: AckPolicy = { mode: 'auto', returned: false };

/** The policy of a source. */
export function ackPolicy(source: {
  readonly ackMode: AckPolicy['mode'];
  readonly returnConnection?: object;
}): AckPolicy {
  return { mode: source.ackMode, returned: source.returnConnection !== undefined };
}

/** Which acknowledgment the answer on the sender's own connection is (HL7 v2.9 §2.9.2 and §2.9.3). */
type AnswerKind = 'original' | 'accept' | 'application';

/**
 * Enhanced mode is chosen by a valued MSH-15 or MSH-16, or by the source. Its answer is the accept acknowledgment; but where the sender
 * wants none (NE) and asks for the application's, and that has no way of its own, it is that one.
 */
function kindOfAnswer({ accept, application }: Acknowledgment, { mode, returned }: AckPolicy): AnswerKind {
  if (mode === 'original' || (mode === 'auto' && accept === '' && application === '')) return 'original';
  if (!returned && accept === 'NE' && application !== '' && application !== 'NE') return 'application';
  return 'accept';
}

/** The code for MSA-1 (HL7 table 0008): AA, AE, AR of original mode and of application acknowledgments; CA, CE, CR of accept acknowledgments. */
export function acknowledgmentCode(
  request: Hl7Message | undefined,
  code: Answer['code'],
  policy: AckPolicy = BY_MESSAGE,
): string {
  return kindOfAnswer(acknowledgment(request?.segment('MSH')), policy) === 'accept' ? `C${code[1]!}` : code;
}

/**
 * Whether the sender wants this answer by MSH-15/16: NE never, ER on errors only, SU on success only. Asked only for a
 * source with `honourNever`; every other frame is answered.
 */
export function answerWanted(
  request: Hl7Message | undefined,
  code: Answer['code'],
  policy: AckPolicy = BY_MESSAGE,
): boolean {
  const conditions = acknowledgment(request?.segment('MSH'));
  const kind = kindOfAnswer(conditions, policy);
  if (kind === 'original') return true;
  return conditionHolds(kind === 'accept' ? conditions.accept : conditions.application, code);
}

/** HL7 table 0155. */
function conditionHolds(condition: string, code: Answer['code']): boolean {
  if (condition === 'NE') return false;
  if (condition === 'ER') return code !== 'AA';
  if (condition === 'SU') return code === 'AA';
  return true;
}

/** When an application acknowledgment is to go out (HL7 table 0155, without NE). */
export type ApplicationCondition = 'AL' | 'ER' | 'SU';

/**
 * Whether, and when, the sender of a message gets an application acknowledgment over the source's return connection (HL7 v2.9 §2.9.3).
 * A source in enhanced mode whatever the messages say gives one also to a message that says nothing. Acknowledgments get none.
 */
export function applicationCondition(request: Hl7Message, policy: AckPolicy): ApplicationCondition | undefined {
  const header = request.segment('MSH');
  const conditions = acknowledgment(header);
  if (header === undefined || !policy.returned || kindOfAnswer(conditions, policy) === 'original') return undefined;
  if (request.segment('MSA') !== undefined) return undefined;
  const { application } = conditions;
  if (application === 'ER' || application === 'SU') return application;
  if (application === 'NE' || (application === '' && policy.mode !== 'enhanced')) return undefined;
  return 'AL';
}

/** Whether the outcome of a message is one that its sender wants to hear of. */
export function applicationAckWanted(condition: ApplicationCondition, code: Answer['code']): boolean {
  return conditionHolds(condition, code);
}

/** The answer to one message on its own connection; without a readable header a minimal one with the usual separators. */
export function buildAck(request: Hl7Message | undefined, answer: Answer, policy: AckPolicy = BY_MESSAGE): Buffer {
  return acknowledge(request, answer, {
    code: acknowledgmentCode(request, answer.code, policy),
    purpose: 'ack',
    accept: '',
    application: '',
  });
}

/**
 * The application acknowledgment of enhanced mode, a message of the hub's own (HL7 v2.9 §2.9.3): with a control id of its own, and asking for
 * an accept acknowledgment. The same message and outcome give the same bytes, so one that is sent again can be recognised.
 */
export function buildApplicationAck(request: Hl7Message, answer: Answer): Buffer {
  return acknowledge(request, answer, {
    code: answer.code,
    purpose: APPLICATION_ACK,
    accept: 'AL',
    application: 'NE',
  });
}

/** MSH-10 of the application acknowledgment of a message: what the accept acknowledgment for it names in MSA-2. */
export function applicationAckId(messageId: string): string {
  return controlId(APPLICATION_ACK, messageId);
}

const APPLICATION_ACK = 'application-ack';

interface Acknowledging {
  /** MSA-1. */
  readonly code: string;
  /** What the control id is made for. */
  readonly purpose: string;
  /** MSH-15 and MSH-16. */
  readonly accept: string;
  readonly application: string;
}

function acknowledge(request: Hl7Message | undefined, answer: Answer, as: Acknowledging): Buffer {
  const header = new Header(request?.segment('MSH'), request);
  const at = hl7Time(answer.recordedAt);
  const { separators } = header;
  const { component } = separators;
  const trigger = request?.triggerEvent ?? '';
  const version = versionNumber(header.version);
  const old = version < V2_3_1;
  let type = 'ACK';
  if (/^[A-Za-z0-9]{3}$/.test(trigger) && component !== '')
    type += component + trigger + (old ? '' : `${component}ACK`);
  const msh = [
    'MSH',
    header.encodingCharacters,
    header.address(5),
    header.address(6),
    header.address(3),
    header.address(4),
    at,
    '',
    type,
    controlId(as.purpose, answer.messageId),
    header.field(11) === '' ? 'P' : header.address(11),
    header.field(12) === '' ? DEFAULT_VERSION : header.address(12),
    '',
    '',
    as.accept,
    as.application,
    '',
    header.address(18),
  ];
  const failed = answer.code !== 'AA';
  const problem = failed
    ? (answer.problem ?? { code: answer.code === 'AE' ? 'APPLICATION_ERROR' : 'APPLICATION_REJECT' })
    : undefined;
  const before25 = version < V2_5;
  const msa = ['MSA', as.code, header.field(10)];
  if (problem !== undefined && before25) msa.push(escapeText(describe(problem), separators));
  const segments = [msh, msa];
  if (problem !== undefined) segments.push(before25 ? oldError(problem, separators) : newError(problem, separators));
  return header.encode(segments.map((segment) => join(segment, separators)).join(''));
}

/** One message's answer within that of a batch. */
export interface BatchAnswer {
  readonly bytes: Buffer;
  readonly messageId: string;
  readonly recordedAt: string;
  /** Which BHS the message stood under, from 0. */
  readonly batch?: number;
}

/**
 * One answer to a file or batch (HL7 v2.9 §2.10.3): FHS and BHS with the addresses exchanged and the other's control ids as
 * reference (FHS-12, BHS-12), an answer for each message in order, and the counts. Messages that came one after another
 * without envelope are answered in the same way: one after another.
 */
export function buildBatchAck(envelope: BatchEnvelope | undefined, answers: readonly BatchAnswer[]): Buffer {
  if (envelope === undefined) return Buffer.concat(answers.map(({ bytes }) => bytes));
  const last = answers.reduce((latest, { recordedAt }) => (recordedAt > latest ? recordedAt : latest), '');
  const key = answers[0]?.messageId ?? '';
  const parts: Buffer[] = [];
  const open = (name: 'FHS' | 'BHS', segment: Hl7Segment | undefined, index: number): Header => {
    const header = new Header(segment, undefined, envelope);
    const fields = [
      name,
      header.encodingCharacters,
      header.address(5),
      header.address(6),
      header.address(3),
      header.address(4),
      hl7Time(last),
      '',
      '',
      '',
      controlId(`${name}${index}`, key),
      header.field(11),
    ];
    parts.push(header.encode(join(fields, header.separators)));
    return header;
  };
  const close = (header: Header, name: 'BTS' | 'FTS', count: number): void => {
    parts.push(header.encode(join([name, String(count)], header.separators)));
  };
  const file = envelope.fhs === undefined && envelope.fts === undefined ? undefined : open('FHS', envelope.fhs, 0);
  let groups = 0;
  let at = 0;
  let index = 0;
  const group = (segment: Hl7Segment | undefined, belongs: (answer: BatchAnswer) => boolean): void => {
    const header = open('BHS', segment, index);
    const from = at;
    for (; at < answers.length && belongs(answers[at]!); at += 1) parts.push(answers[at]!.bytes);
    close(header, 'BTS', at - from);
    groups += 1;
    index += 1;
  };
  envelope.bhs.forEach((segment, number) => {
    // Messages between two batches get a group of their own, so that the order stays theirs.
    if (at < answers.length && answers[at]!.batch === undefined) group(undefined, ({ batch }) => batch === undefined);
    group(segment, ({ batch }) => batch === number);
  });
  if (at < answers.length || groups === 0) group(undefined, () => true);
  if (file !== undefined) close(file, 'FTS', groups);
  return Buffer.concat(parts);
}

/** The request's header (MSH, FHS, BHS), for being repeated: what is copied is copied byte for byte where the set allows. */
class Header {
  readonly separators: Hl7Separators;
  readonly version: string;
  private readonly charset;
  /** Fields from the first, one character per byte; only for sets in which the separator's byte is nothing else. */
  private readonly exact: readonly string[] | undefined;

  constructor(
    private readonly segment: Hl7Segment | undefined,
    request: Hl7Message | undefined,
    envelope?: BatchEnvelope,
  ) {
    const from = request ?? envelope;
    this.separators = (segment === undefined ? undefined : from?.separators) ?? DEFAULT_SEPARATORS;
    this.version = request?.version ?? '';
    this.charset = charsetNamed(from?.charset ?? UTF_8.name) ?? UTF_8;
    const safe = this.charset === UTF_8 || this.charset.singleByte;
    if (request !== undefined && segment !== undefined && safe && this.separators.field.charCodeAt(0) < 0x80) {
      let end = segment.byteOffset;
      while (end < request.bytes.length && request.bytes[end] !== 0x0d && request.bytes[end] !== 0x0a) end += 1;
      this.exact = request.bytes.toString('latin1', segment.byteOffset, end).split(this.separators.field);
    }
  }

  get encodingCharacters(): string {
    const { component, repetition, escape, subcomponent, truncation } = this.separators;
    return component + repetition + escape + subcomponent + (truncation ?? '');
  }

  /** A field as sent. */
  field(number: number): string {
    return this.exact === undefined ? (this.segment?.rawField(number) ?? '') : (this.exact[number - 1] ?? '');
  }

  address(number: number): string {
    const field = this.field(number);
    return field.length > LONGEST_ADDRESS ? '' : field;
  }

  encode(text: string): Buffer {
    return this.exact === undefined ? this.charset.encode(text) : Buffer.from(text, 'latin1');
  }
}

const FILE_SEPARATOR = '\x1c';

function join(fields: readonly string[], separators: Hl7Separators): string {
  let last = fields.length;
  while (last > 2 && fields[last - 1] === '') last -= 1;
  const segment = fields.slice(0, last).join(separators.field);
  // An echoed field may end in FS, and FS with the CR behind it would end the answer's MLLP frame.
  return segment.endsWith(FILE_SEPARATOR) ? `${segment}${separators.field}\r` : `${segment}\r`;
}

/** 20 characters, the most that MSH-10 holds before v2.7. */
function controlId(purpose: string, messageId: string): string {
  return hash('sha256', `${purpose}:${messageId}`, 'hex').slice(0, 20).toUpperCase();
}

/** `2026-03-01T10:15:30.123456Z` as `20260301101530.1234+0000`: four digits are the most that DTM holds (HL7 v2.9 §2.A.22). */
function hl7Time(instant: string): string {
  if (instant !== lastInstant) {
    lastTime = instant === '' ? '' : `${instant.slice(0, 24).replaceAll(/[-T:]/g, '')}+0000`;
    lastInstant = instant;
  }
  return lastTime;
}

/** The messages of a round are recorded at one time. */
let lastInstant = '';
let lastTime = '';

const V2_3_1 = 3_000_001;
const V2_5 = 5_000_000;

/** `2.3.1` as 3,000,001, for comparing; what is no version of HL7 v2 is as new as can be. */
function versionNumber(version: string): number {
  const match = /^2(?:\.(\d+))?(?:\.(\d+))?/.exec(version);
  return match === null ? Infinity : Number(match[1] ?? 0) * 1e6 + Number(match[2] ?? 0);
}

function describe({ code, path, byteOffset }: AckProblem): string {
  return code + (path === undefined ? '' : ` at ${path}`) + (byteOffset === undefined ? '' : ` (byte ${byteOffset})`);
}

/** HL7 table 0357, message error condition codes. */
const CONDITIONS = {
  100: 'Segment sequence error',
  101: 'Required field missing',
  102: 'Data type error',
  103: 'Table value not found',
  104: 'Value too long',
  200: 'Unsupported message type',
  201: 'Unsupported event code',
  202: 'Unsupported processing id',
  203: 'Unsupported version id',
  204: 'Unknown key identifier',
  205: 'Duplicate key identifier',
  206: 'Application record locked',
  207: 'Application error',
} as const;

function condition({ code }: AckProblem): keyof typeof CONDITIONS {
  if (code === 'NO_MSH' || code.includes('SEGMENT')) return 100;
  if (/TOO_LARGE|TOO_LONG/.test(code)) return 104;
  if (/MESSAGE_TYPE/.test(code)) return code.startsWith('NO_') ? 101 : 200;
  if (/TRIGGER|EVENT_CODE/.test(code)) return 201;
  if (/VERSION/.test(code)) return 203;
  if (/^NO_|_MISSING|MISSING_|REQUIRED/.test(code)) return 101;
  if (/UNKNOWN_(?:KEY|PATIENT|IDENTIFIER)/.test(code)) return 204;
  if (/CODE_UNKNOWN|UNKNOWN_CODE|TABLE/.test(code)) return 103;
  if (/INVALID|BAD_|MALFORMED|NOT_A|UNDECODABLE|WRONG_TYPE/.test(code)) return 102;
  return 207;
}

const PATH = /^([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+)(?:\.(\d+))?)?)?$/;

/** ERR from v2.5 on: ERR-2 location (ERL), ERR-3 condition, ERR-4 severity, ERR-5 the hub's code, ERR-7 and ERR-8 the same in words. */
function newError(problem: AckProblem, separators: Hl7Separators): string[] {
  const { component } = separators;
  const number = condition(problem);
  const path = problem.path === undefined ? null : PATH.exec(problem.path);
  let location = '';
  if (path !== null) {
    const [, segment, sequence, field, repetition, part, subpart] = path;
    const parts = [
      segment,
      sequence ?? '1',
      field ?? '',
      field === undefined ? '' : (repetition ?? '1'),
      part ?? '',
      subpart ?? '',
    ];
    while (parts.at(-1) === '') parts.pop();
    location = parts.join(component);
  }
  return [
    'ERR',
    '',
    location,
    [String(number), CONDITIONS[number], 'HL70357'].join(component),
    'E',
    [escapeText(problem.code, separators), '', 'L'].join(component),
    '',
    problem.byteOffset === undefined ? '' : `byte ${problem.byteOffset}`,
    escapeText(describe(problem), separators),
  ];
}

/** ERR before v2.5: ERR-1, error code and location (ELD). */
function oldError(problem: AckProblem, separators: Hl7Separators): string[] {
  const number = condition(problem);
  const path = problem.path === undefined ? null : PATH.exec(problem.path);
  const code = [String(number), CONDITIONS[number], 'HL70357'].join(
    separators.subcomponent === '' ? ' ' : separators.subcomponent,
  );
  return [
    'ERR',
    [path?.[1] ?? '', path === null ? '' : (path[2] ?? '1'), path?.[3] ?? '', code].join(separators.component),
  ];
}
