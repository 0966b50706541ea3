/** docs/rebuild.md, step by step: a field is added to the master store, from the plan to the rollback. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createMasterProjection, MASTER_VERSION } from '../../projections/master/index.js';
import type { Mapped } from '../../src/mapping/fact.js';
import { mapMessage } from '../../src/mapping/map.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { buildsOf } from '../../src/projecting/builds.js';
import {
  ProjectionDesk,
  RollbackProjection,
  RollbackProjectionHandler,
  SwitchProjection,
  SwitchProjectionHandler,
} from '../../src/projecting/commands.js';
import { EventDecoder } from '../../src/projecting/decode.js';
import { projectionMailboxHandlers } from '../../src/projecting/mailbox-handlers.js';
import { makePlan, recordSchemas, type Plan } from '../../src/projecting/plan.js';
import type { ProjectionDefinition } from '../../src/projecting/projection.js';
import { Projections } from '../../src/projecting/projections.js';
import type { VerifyReport } from '../../src/projecting/verify.js';
import { servedSchemas } from '../../src/query/served-schemas.js';
import { openBody } from '../../src/sealing/body.js';
import { TestHub } from '../query/support.js';
import { ROOT } from '../support/hub-process.js';

let hub: TestHub;
let running: Projections | undefined;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(async () => {
  await running?.stop();
  await hub.stop();
});

const requestedBy = 'engineer';
const people = Array.from({ length: 5 }, () => ({ record: randomUUID(), patient: randomUUID() }));

async function admit(n: number, control: string): Promise<void> {
  const { record, patient } = people[n] as (typeof people)[number];
  const content = [
    `MSH|^~\\&|A|B|C|D|20260301101500||ADT^A01|${control}|P|2.5.1`,
    'EVN|A01|20260301101500',
    `PID|1||${n}^^^MERCY^MR||Doe${n}^Jane||1970010${n + 1}|F`,
    ...(n % 2 === 0 ? ['ZPI|they/them'] : []),
  ];
  await hub.append([{ record, patient, content }]);
}

/** The next release: a Z segment that was kept and not read gives a field. */
function withPronouns(content: Parameters<typeof mapMessage>[0], context: Parameters<typeof mapMessage>[1]): Mapped {
  const mapped = mapMessage(content, context);
  if (content.kind !== 'hl7v2') return mapped;
  const pronouns = content.message.segment('ZPI')?.text(1);
  const [first] = mapped.facts.filter(({ kind }) => kind === 'PATIENT');
  if (pronouns === undefined || pronouns === '' || first === undefined) return mapped;
  const { kind, sourceRecordId, key, valid } = first;
  const fact = { kind, sourceRecordId, key, valid, assert: { 'attribute:pronouns': pronouns } };
  return { ...mapped, facts: [...mapped.facts, fact], unmapped: mapped.unmapped.filter((name) => name !== 'ZPI') };
}

function nextRelease(): ProjectionDefinition {
  return {
    ...createMasterProjection({ hashes: hub.keys.hashes }),
    version: MASTER_VERSION + 1,
    changes: [
      { version: MASTER_VERSION + 1, fields: ['PATIENT.attribute:pronouns'], reason: 'pronouns are read from ZPI-1' },
    ],
  };
}

const schemas = servedSchemas();
const extended = {
  ...schemas,
  clinical: `${schemas.clinical}\nextend type Patient { "How to speak of the person: ZPI-1." pronouns: String }`,
};

const CHART = `query ($basis: String, $candidate: Boolean) { at(basis: $basis, candidate: $candidate) {
  basis { token revised } patients { nodes { birthDate attributes { name value } } } } }`;

interface Chart {
  readonly at: {
    readonly basis: { readonly token: string; readonly revised: string | null };
    readonly patients: {
      readonly nodes: readonly {
        readonly birthDate: unknown;
        readonly attributes: readonly { readonly name: string; readonly value: unknown }[];
      }[];
    };
  };
}

async function chart(variables: { basis?: string; candidate?: boolean }): Promise<Chart['at']> {
  const { data, errors } = await hub.ask(CHART, variables);
  expect(errors).toBeUndefined();
  return (data as unknown as Chart).at;
}

const pronounsOf = ({ patients }: Chart['at']): number =>
  patients.nodes.filter(({ attributes }) => attributes.some(({ name }) => name === 'pronouns')).length;

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await hub.database.pool.query('select pg_sleep(0.01)');
  }
}

test('a field is added to the master store as docs/rebuild.md says, and old bases say why they answer otherwise', async () => {
  const { pool, url } = hub.database;
  for (const n of people.keys()) await admit(n, `C${n}`);
  await hub.project();
  await recordSchemas(pool, schemas);
  const before = await chart({});
  expect(pronounsOf(before)).toBe(0);
  const noCandidate = await hub.ask(CHART, { candidate: true });
  expect(noCandidate.errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');

  // 1. The plan: a rebuild, why, about how long; the graph gains a field and loses none.
  const definitions = [nextRelease()];
  const events = await hub.reader.count();
  const plan: Plan = await makePlan({ database: pool, definitions, events, schemas: extended });
  expect(plan.projections.find(({ name }) => name === 'master')).toMatchObject({
    action: 'rebuild',
    installedVersion: MASTER_VERSION,
    version: MASTER_VERSION + 1,
    changed: ['version'],
    carriedOn: true,
    reasons: ['pronouns are read from ZPI-1 (PATIENT.attribute:pronouns)'],
  });
  expect(plan.schemas).toContainEqual({
    name: 'clinical',
    known: true,
    breaking: [],
    dangerous: [],
    added: ['Patient.pronouns'],
  });
  const narrowed = { ...schemas, clinical: schemas.clinical.replace('isDeceased: Boolean', 'isDead: Boolean') };
  const breaking = await makePlan({ database: pool, definitions, events, schemas: narrowed });
  expect(breaking.schemas.find(({ name }) => name === 'clinical')?.breaking).toEqual([
    'Patient.isDeceased was removed.',
  ]);

  // 2. The next release starts: it builds beside the one that serves, and carries that on meanwhile.
  const decoder = new EventDecoder({ keys: hub.keys, reader: hub.reader, openBody, readHl7, mapMessage: withPronouns });
  const handlers = projectionMailboxHandlers({
    reader: hub.reader,
    hashes: hub.keys.hashes,
    tenant: 'main',
    writer: hub['writer'],
  });
  const mailbox = {
    request: (kind: string, payload: Parameters<NonNullable<(typeof handlers)[string]>>[0]) => {
      const handler = handlers[kind];
      return handler === undefined ? Promise.reject(new Error(`no handler for ${kind}`)) : handler(payload);
    },
  };
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  running = new Projections({
    databaseUrl: url,
    pool,
    reader: hub.reader,
    decoder,
    mailbox,
    definitions,
    log,
    autoSwitch: false,
  });
  await running.start();
  const desk = new ProjectionDesk(pool, hub.reader, mailbox, hub.keys.hashes);
  await admit(0, 'C9');
  const built = await until(async () => {
    const [row] = await buildsOf(pool, 'master');
    return row?.state === 'built' && row.verified !== null ? row : undefined;
  });

  // 3. What verification found: everything is what the log says, and the difference is the one that was meant.
  expect(built).toMatchObject({ version: 2, verified: true, definition_version: MASTER_VERSION + 1 });
  const report = built.report as VerifyReport;
  expect(report).toMatchObject({ equal: true, defects: 0, findings: [] });
  expect(report.serving?.explained).toMatchObject([
    { version: MASTER_VERSION + 1, reason: 'pronouns are read from ZPI-1' },
  ]);
  expect(Object.keys(report.serving?.explained[0]?.fields ?? {})).toEqual(['PATIENT.attribute:pronouns']);

  // 4. The candidate is asked while the old build serves, which answers as before.
  const token = before.basis.token;
  expect(await chart({ basis: token })).toEqual(before);
  const candidate = await chart({ basis: token, candidate: true });
  expect(pronounsOf(candidate)).toBe(3);
  expect(candidate.basis.token).toBe(token);
  expect(candidate.patients.nodes.map(({ birthDate }) => birthDate)).toEqual(
    before.patients.nodes.map(({ birthDate }) => birthDate),
  );

  // 5. The switch. The old basis still answers, and says why it answers otherwise.
  await new SwitchProjectionHandler(desk).execute(new SwitchProjection('master', 2, { requestedBy }));
  await until(async () => ((await buildsOf(pool, 'master'))[0]?.serving === true ? true : undefined));
  const after = await chart({ basis: token });
  expect(pronounsOf(after)).toBe(3);
  expect(after.basis).toEqual({
    token,
    revised: expect.stringContaining(`version ${MASTER_VERSION + 1} of its rules`) as unknown,
  });
  const fresh = await chart({});
  expect(fresh.basis.revised).toBeNull();
  expect(fresh.basis.token).not.toBe(token);

  // 6. Back again with one command: the tables are the same, so the old build was kept current.
  await admit(1, 'C10');
  await new RollbackProjectionHandler(desk).execute(new RollbackProjection('master', { requestedBy }));
  await until(async () => ((await buildsOf(pool, 'master'))[1]?.serving === true ? true : undefined));
  const back = await chart({ basis: token });
  expect(back).toEqual(before);
  await until(async () => {
    const { rows } = await pool.query<{ position: bigint }>(
      `select position from hub.checkpoint where projection = 'master' and version = 1`,
    );
    return rows[0]?.position === (await hub.reader.head()) ? true : undefined;
  });
});

test('the plan as a command exits with 0 where all is well, with 1 where the start would be refused or a graph breaks', async () => {
  const { pool, url } = hub.database;
  const plan = (): Promise<{ code: number | null; out: string }> =>
    new Promise((resolve) => {
      const environment = { ...process.env, NODE_OPTIONS: '', ANAMNESIS_DATABASE_URL: url };
      const command = [path.join(ROOT, 'bin/anamnesis.js'), 'projections', 'plan', '--data', '/nonexistent/data'];
      const child = execFile(process.execPath, command, { env: environment }, (_, out) =>
        resolve({ code: child.exitCode, out }),
      );
    });
  await recordSchemas(pool, schemas);
  expect(await plan()).toMatchObject({ code: 0, out: expect.stringContaining('graph clinical: unchanged') });
  await recordSchemas(pool, extended);
  expect(await plan()).toMatchObject({ code: 1, out: expect.stringMatching(/graph clinical breaks: .*pronouns/) });
  await recordSchemas(pool, schemas);
  await pool.query(
    `update hub.projection set definition_hash = 'other', definition_version = $1 where name = 'master'`,
    [MASTER_VERSION],
  );
  expect(await plan()).toMatchObject({ code: 1, out: expect.stringContaining('refuses: raise the version') });
});

test('every command that docs/rebuild.md names is one', () => {
  const page = readFileSync(path.join(ROOT, 'docs/rebuild.md'), 'utf8');
  const commands = readFileSync(path.join(ROOT, 'src/cli/commands/projections.ts'), 'utf8');
  const plan = readFileSync(path.join(ROOT, 'src/cli/commands/projections-plan.ts'), 'utf8');
  const named = [...page.matchAll(/anamnesis projections ([a-z]+)/g)].map(([, name]) => name as string);
  expect(new Set(named)).toEqual(
    new Set(['plan', 'list', 'verify', 'switch', 'rollback', 'rebuild', 'cancel', 'pause', 'resume']),
  );
  for (const name of named) expect(`${commands}${plan}`).toMatch(new RegExp(`['(]${name}[ ']`));
});
