/** Configuration of a source (DESIGN: "Sources are configuration"). The built-in ones are `mllp`, `http` and `file`. */

export interface SourceConfiguration {
  readonly id: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly version: number;
  /** Character set where the message states none. */
  readonly charset: string;
  /** IANA zone of times without offset. */
  readonly timeZone: string;
  /** Assigning authority of identifiers that state none. */
  readonly defaultAuthority: string;
  /** Identifier types (HL7 table 0203) that name one person for certain within their authority; an untyped PID-3 counts as MR. */
  readonly trustedIdentifierTypes: readonly string[];
  /** What a sender gets for a message that was kept but parked: AE/AR, or AA for engines that stop at an AE. */
  readonly onParked: 'error' | 'accept';
  /** Obey MSH-15/16 NE, ER and SU (silence); otherwise every frame gets an answer. */
  readonly honourNever: boolean;
}

/** Settings of the built-in sources. */
export function builtInSource(id: 'mllp' | 'http' | 'file', timeZone = 'UTC'): SourceConfiguration {
  return {
    id,
    kind: id,
    enabled: true,
    version: 1,
    charset: 'UTF-8',
    timeZone,
    defaultAuthority: id,
    trustedIdentifierTypes: ['MR', 'MRN', 'PI', 'PT', 'EPI', 'NHS', 'NHSNMBR', 'MC', 'HC', 'JHN', 'NI'],
    onParked: 'error',
    honourNever: false,
  };
}
