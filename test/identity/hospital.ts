/** Builders for identity tests: messages about invented people, and a log that keeps what was decided. */
import { randomBytes, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { IdentityResolver } from '../../src/identity/resolver.js';
import type { IdentityOptions } from '../../src/identity/resolver.js';
import type { IdentityEvent } from '../../src/identity/rebuild.js';
import type { IdentityDecision, IdentityIdentifier, IdentityInput, PersonEvidence } from '../../src/identity/types.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';

export const hashes = new KeyedHashes(randomBytes(32));

export function mrn(value: string, authority = 'MERCY'): IdentityIdentifier {
  return { authority, value, type: 'MR', trusted: true };
}

export function person(
  name: string,
  birthDate: string | undefined,
  more: Partial<PersonEvidence> = {},
): PersonEvidence {
  const [family, given] = name.split(', ');
  return {
    identifiers: [],
    name: {
      ...(family === undefined || family === '' ? {} : { family }),
      given: given === undefined ? [] : given.split(' '),
    },
    ...(birthDate === undefined ? {} : { birthDate }),
    ...more,
  };
}

export function message(
  persons: PersonEvidence | readonly PersonEvidence[],
  more: Partial<IdentityInput> = {},
): IdentityInput {
  return {
    messageId: randomUUID(),
    tenant: 'main',
    sourceId: 'mllp',
    persons: Array.isArray(persons) ? (persons as PersonEvidence[]) : [persons as PersonEvidence],
    ...more,
  };
}

export function resolverOn(pool: pg.Pool, options: Partial<IdentityOptions> = {}): IdentityResolver {
  return IdentityResolver.open({ pool, hashes, today: () => '2026-11-20', ...options });
}

/** A resolver whose decisions all reach the log, one message at a time. */
export class Hospital {
  readonly log: IdentityEvent[] = [];
  readonly resolver: IdentityResolver;

  constructor(pool: pg.Pool, options: Partial<IdentityOptions> = {}) {
    this.resolver = resolverOn(pool, options);
  }

  async send(...inputs: IdentityInput[]): Promise<IdentityDecision[]> {
    const decisions = await this.resolver.resolve(inputs);
    this.append(decisions);
    return decisions;
  }

  async one(input: IdentityInput): Promise<IdentityDecision> {
    const [decision] = await this.send(input);
    if (decision === undefined) throw new Error('no decision');
    return decision;
  }

  append(decisions: readonly IdentityDecision[]): void {
    for (const decision of decisions) this.log.push(...eventsOf(decision));
    this.resolver.announced(decisions);
  }
}

/** As the intake appends them: the message, then its reviews. */
export function eventsOf(decision: IdentityDecision): IdentityEvent[] {
  const envelope = {
    schema: 1 as const,
    tenant: 'main',
    source: 'mllp',
    sourceVersion: 1,
    recordedAt: '2026-11-20T10:00:00.000000Z',
    identity: { method: decision.method, flags: decision.flags },
    links: decision.links,
    validation: { state: 'valid' as const },
    decoder: 1,
    bodyHash: '',
    ...(decision.patientId === undefined ? {} : { patientId: decision.patientId }),
    ...(decision.sourceRecordId === undefined ? {} : { sourceRecordId: decision.sourceRecordId }),
  };
  return [
    {
      id: decision.messageId,
      type: 'inbound.hl7v2',
      envelope,
      body: { state: 'open', header: { identityKeys: decision.identityKeys }, content: Buffer.alloc(0) },
    },
    ...decision.reviews.map((review): IdentityEvent => ({
      id: review.reviewId,
      type: 'review.opened',
      envelope: { ...envelope, links: [] },
      body: { state: 'decision', json: review },
    })),
  ];
}

/** Everything the identity tables hold, in an order of its own, without numbers. */
export async function dump(pool: pg.Pool): Promise<Record<string, unknown[]>> {
  const tables = {
    source_record: 'key, id, patient_id, tenant',
    identifier_key: 'key, record_id',
    person_key: 'key, record_id, contested',
    evidence: 'record_id, kind, scope, value',
    record_link: 'message_id, record_id, from_patient_id, patient_id, reason',
    review: 'id, reason, patient_ids, record_id, message_id',
  };
  const all: Record<string, unknown[]> = {};
  for (const [table, columns] of Object.entries(tables)) {
    all[table] = (await pool.query(`select ${columns} from identity.${table} order by ${columns}`)).rows;
  }
  return all;
}
