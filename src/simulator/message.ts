/** A simulated message and what an oracle may know about it. */
import type { Instant } from '../time/valid-time.js';

export type SimulatedKind = 'hl7' | 'event' | 'fhir';

/** What is out of the ordinary about a message. */
export type Quirk =
  /** The bytes of the person's previous message again. */
  | 'duplicate'
  /** The control id of an earlier message with other content. */
  | 'conflict'
  /** Tells of something that lies before what was told already. */
  | 'late'
  /** Corrects a result that was final. */
  | 'correction'
  /** Takes back an event. */
  | 'cancel'
  /** Brings two numbers of one person together. */
  | 'merge';

export interface SimulatedResult {
  /** Filler order number; absent in JSON events and bundles. */
  readonly order?: string;
  readonly code: string;
  readonly value: string;
  readonly status: string;
  readonly at: Instant;
}

export interface Truth {
  /** Number of the person that it is about, from 0. */
  readonly person: number;
  /** `ADT^A01`, the type of a clinical event, or `Bundle`. */
  readonly trigger: string;
  /** MSH-10, `eventId`, or `Bundle.identifier.value`. */
  readonly controlId: string;
  /** The number that the message names its patient by. */
  readonly identifier: { readonly authority: string; readonly value: string };
  /** When what it tells was so, by the rules of docs/time.md; of a cancel the event that it takes back. */
  readonly validTime: Instant;
  readonly name: { readonly family: string; readonly given: readonly string[] };
  readonly birthDate: string;
  readonly quirk?: Quirk;
  /** Visit number. */
  readonly visit?: string;
  /** Ward, room and bed that a visit is at from the valid time on. */
  readonly location?: string;
  readonly results?: readonly SimulatedResult[];
  readonly favoriteColor?: string;
  /** On a merge: the number that ends. */
  readonly mergedIdentifier?: { readonly authority: string; readonly value: string };
}

export interface SimulatedMessage {
  readonly kind: SimulatedKind;
  readonly bytes: Buffer;
  /** When it is sent. Never before the message that stands before it. */
  readonly at: Instant;
  readonly truth: Truth;
}
