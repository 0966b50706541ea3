/** A message and the decisions of identity about it: what goes into the envelope and the sealed header. */
import type { IdentityDecision, IdentityInput } from '../../identity/types.js';
import type { ReviewOpened } from '../../log/decisions.js';
import type { IdentityMethod, RecordLink } from '../../log/envelope.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import type { PersonIds } from '../duplicates.js';
import { groupOfFhir, type PeopleGroup } from '../people.js';
import type { ReadMessage } from '../reading.js';
import type { SourceConfiguration } from '../source.js';

export interface InputContext {
  readonly tenant: string;
  readonly source: SourceConfiguration;
  readonly eventId: string;
}

/** What identity is asked about one message. */
export interface Asked {
  readonly inputs: readonly IdentityInput[];
  /** For a split bundle: which input is about which part; the others are about people without entries of their own. */
  readonly ofPart: readonly number[];
}

/** Id of a part of a bundle: the same for a resend that is cut in the same way. */
export function partId(
  hashes: Pick<KeyedHashes, 'uuid'>,
  containerId: string,
  ranges: readonly (readonly [number, number])[],
): string {
  return hashes.uuid('part', containerId, JSON.stringify(ranges));
}

/** The questions of one message: one per group of people; of a split bundle one per part, under the part's own id. */
export function identityInputs(hashes: Pick<KeyedHashes, 'uuid'>, read: ReadMessage, context: InputContext): Asked {
  const { tenant, source, eventId } = context;
  const split = read.fhir?.split;
  if (read.fhir === undefined || split === undefined) {
    return {
      inputs: read.people.groups.map((group, index) => input(group, index === 0 ? eventId : groupId(index))),
      ofPart: [],
    };
  }
  const inputs: IdentityInput[] = [];
  const withPart = new Set(split.parts.map((part) => part.subject));
  const { subjects } = read.fhir.subjects;
  const ofPart = split.parts.map((part) => {
    const subject = subjects[part.subject];
    if (subject === undefined) throw new RangeError('a part without a subject');
    return (
      inputs.push(input(groupOfFhir(subject, read.fhir!.subjects, source), partId(hashes, eventId, part.ranges))) - 1
    );
  });
  subjects.forEach((subject, index) => {
    if (!withPart.has(index)) inputs.push(input(groupOfFhir(subject, read.fhir!.subjects, source), groupId(index)));
  });
  return { inputs, ofPart };

  function input(group: PeopleGroup, messageId: string): IdentityInput {
    const { persons, namesOthers, merge } = group;
    return { messageId, tenant, sourceId: source.id, persons, namesOthers, merge };
  }
  function groupId(index: number): string {
    return hashes.uuid('identity-group', eventId, String(index));
  }
}

/** Everything identity said about one message (or about what the container of a split bundle holds). */
export interface Identified {
  readonly method: IdentityMethod;
  readonly sourceRecordId?: string;
  readonly patientId?: string;
  /** Whose data key seals the body. */
  readonly ownerId: string;
  readonly flags: readonly string[];
  readonly links: readonly RecordLink[];
  readonly reviews: readonly ReviewOpened[];
  readonly identityKeys: Readonly<Record<string, string>>;
  /** In the order of `People.references`. */
  readonly persons: readonly PersonIds[];
}

/** A message about nobody. */
export function nobody(eventId: string): Identified {
  return { method: 'none', ownerId: eventId, flags: [], links: [], reviews: [], identityKeys: {}, persons: [] };
}

/** Puts the decisions of a message's groups together. Several groups mean several persons: the body has a key of its own. */
export function identifiedOf(eventId: string, decisions: readonly IdentityDecision[]): Identified {
  const [first] = decisions;
  if (first === undefined) return nobody(eventId);
  return {
    method: first.method,
    sourceRecordId: first.sourceRecordId,
    patientId: first.patientId,
    ownerId: decisions.length === 1 ? first.ownerId : eventId,
    flags: decisions.length === 1 ? first.flags : [...new Set(decisions.flatMap((decision) => decision.flags))],
    links: lastLinks(decisions.length === 1 ? first.links : decisions.flatMap((decision) => decision.links)),
    reviews: reviewsOf(eventId, decisions),
    identityKeys: decisions.length === 1 ? first.identityKeys : joinIdentityKeys(decisions),
    persons: decisions.flatMap((decision) =>
      decision.persons.map((person): PersonIds => [person.sourceRecordId, person.patientId]),
    ),
  };
}

/** Of several links of one record the last holds: it was decided last. */
export function lastLinks(links: readonly RecordLink[]): readonly RecordLink[] {
  if (links.length < 2) return links;
  return [...new Map(links.map((link) => [link.sourceRecordId, link])).values()];
}

const NO_REVIEWS: readonly ReviewOpened[] = [];

/** Each review once, naming the message itself rather than one of its groups or parts. */
export function reviewsOf(eventId: string, decisions: readonly IdentityDecision[]): readonly ReviewOpened[] {
  if (decisions.every(({ reviews }) => reviews.length === 0)) return NO_REVIEWS;
  const own = new Set(decisions.map((decision) => decision.messageId));
  const reviews = decisions
    .flatMap((decision) => decision.reviews)
    .map((review) => (own.has(review.messageId) ? { ...review, messageId: eventId } : review));
  return [...new Map(reviews.map((review) => [review.reviewId, review])).values()];
}

/**
 * Numbers the keys of several decisions through, as one decision about all their persons would: `record`, `record.1`, …, `record.prior0`, …
 * Every person behind the first says its record's id, for the envelope names only the first.
 */
function joinIdentityKeys(decisions: readonly IdentityDecision[]): Record<string, string> {
  const joined: Record<string, string> = {};
  let persons = 0;
  let earlier = 0;
  for (const decision of decisions) {
    let priors = 0;
    for (const [name, value] of Object.entries(decision.identityKeys)) {
      const [, base = name, prior, number] = /^([a-z]+)(?:\.(prior)?(\d+))?$/.exec(name) ?? [];
      const index = Number(number ?? 0);
      if (prior !== undefined) {
        priors = Math.max(priors, index + 1);
        joined[`${base}.prior${earlier + index}`] = value;
      } else {
        const place = persons + index;
        joined[place === 0 ? base : `${base}.${place}`] = value;
      }
    }
    decision.persons.forEach((person, index) => {
      const place = persons + index;
      if (place > 0)
        joined[`id.${place}`] = Buffer.from(person.sourceRecordId.replaceAll('-', ''), 'hex').toString('base64url');
    });
    persons += decision.persons.length;
    earlier += priors;
  }
  return joined;
}
