import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { adt, hl7Time, person, TestHub, type Message, type Sent } from './support.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(async () => {
  await hub.stop();
});

function at(time: string): string {
  return `2026-11-10T${time}Z`;
}

function admission(
  { record, patient, mrn }: ReturnType<typeof person>,
  name: string,
  more: Partial<Parameters<typeof adt>[0]> = {},
): Message {
  return {
    record,
    patient,
    content: adt({
      trigger: 'A01',
      mrn,
      name,
      sex: 'F',
      birthDate: '19840229',
      at: at('10:00:00'),
      location: '4E^12^1',
      ...more,
    }),
  };
}

function result({ record, patient, mrn }: ReturnType<typeof person>, value: number, minute: number): Message {
  const when = hl7Time(`2026-11-10T11:${String(minute).padStart(2, '0')}:00Z`);
  return {
    record,
    patient,
    content: [
      `MSH|^~\\&|LAB|MERCY|HUB|HUB|${when}||ORU^R01|R${mrn}${minute}|P|2.5.1`,
      `PID|1||${mrn}^^^MERCY^MR||`,
      `OBR|1|P${minute}|F${minute}^LAB|8867-4^Heart rate^LN|||${when}`,
      `OBX|1|NM|8867-4^Heart rate^LN||${value}|/min|||||F|||${when}`,
    ],
  };
}

const PAGE = `query ($first: Int) { at { patients(first: $first) { nodes { id names { family } meta { message { id type } }
  encounters { nodes { status location patient { id } meta { message { id } } } } observations { nodes { code value unit } } } } } }`;

describe('pages', () => {
  it('take a constant number of statements, whatever their size', async () => {
    const people = Array.from({ length: 50 }, person);
    await hub.append(
      people.flatMap((one, index) => [
        admission(one, `PAGE${index}^A`),
        result(one, 60 + index, 1),
        result(one, 70 + index, 2),
      ]),
    );
    await hub.project();
    const run = async (first: number): Promise<number> => {
      const before = hub.store.statements;
      const { at: answer } = await hub.data<{
        at: { patients: { nodes: { encounters: { nodes: unknown[] }; observations: { nodes: unknown[] } }[] } };
      }>(PAGE, { first });
      expect(answer.patients.nodes).toHaveLength(first);
      for (const node of answer.patients.nodes) {
        expect(node.encounters.nodes).toHaveLength(1);
        expect(node.observations.nodes).toHaveLength(2);
      }
      return hub.store.statements - before;
    };
    const small = await run(2);
    expect(await run(50)).toBe(small);
    expect(small).toBeLessThanOrEqual(8);
  });

  it('follow one another without a gap or a repeat under one basis, though people arrive meanwhile', async () => {
    const seen: string[] = [];
    let after: string | null = null;
    let basis: string | undefined;
    for (;;) {
      const {
        at: answer,
      }: {
        at: {
          basis: { token: string };
          patients: { nodes: { id: string }[]; pageInfo: { hasNextPage: boolean; endCursor: string } };
        };
      } = await hub.data(
        `query ($after: String, $basis: String) { at(basis: $basis) { basis { token } patients(first: 7, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } } }`,
        { after, basis },
      );
      basis ??= answer.basis.token;
      seen.push(...answer.patients.nodes.map(({ id }) => id));
      after = answer.patients.pageInfo.endCursor;
      await hub.send(admission(person(), 'LATER^A'));
      if (!answer.patients.pageInfo.hasNextPage) break;
    }
    const { at: all } = await hub.data<{ at: { patients: { nodes: { id: string }[] } } }>(
      'query ($basis: String) { at(basis: $basis) { patients(first: 1000) { nodes { id } } } }',
      { basis },
    );
    expect(seen).toEqual(all.patients.nodes.map(({ id }) => id));
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('go on at the basis of their cursor where at() was asked for now, and refuse one that contradicts', async () => {
    const first = await hub.data<{ at: { patients: { nodes: { id: string }[]; pageInfo: { endCursor: string } } } }>(
      '{ at { patients(first: 3) { nodes { id } pageInfo { endCursor } } } }',
    );
    const after = first.at.patients.pageInfo.endCursor;
    await hub.send(admission(person(), 'LATER^A'));
    const second = await hub.ask(
      'query ($after: String) { at { patients(first: 3, after: $after) { nodes { id } } } }',
      { after },
    );
    expect(second.errors).toBeUndefined();
    const other = await hub.ask(
      'query ($after: String) { at(position: "70") { patients(first: 3, after: $after) { nodes { id } } } }',
      { after },
    );
    expect(other.errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');
    const broken = await hub.ask('{ at { patients(first: 3, after: "nonsense") { nodes { id } } } }');
    expect(broken.errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');
  });
});

describe('finding people', () => {
  const who = person();
  const older = person();
  let first: Sent;
  beforeAll(async () => {
    first = await hub.send(admission(who, "O'Brien-Müller^José^Maria"));
    await hub.send(admission(older, 'OBRIEN^Ann', { birthDate: '19500101', location: 'ICU^2^1', class: 'E' }));
    await hub.send({
      record: who.record,
      patient: who.patient,
      content: adt({ trigger: 'A08', mrn: who.mrn, name: 'Renamed^José', at: at('15:00:00') }),
    });
  });

  async function found(filter: string, given = ''): Promise<string[]> {
    const { at: answer } = await hub.data<{ at: { patients: { nodes: { id: string }[] } } }>(
      `{ at${given} { patients(filter: { ${filter} }) { nodes { id } } } }`,
    );
    return answer.patients.nodes.map(({ id }) => id).sort();
  }

  it('by prefixes of words of a name, without case and accents, as it stood', async () => {
    expect(await found('name: "jos obri"', `(position: "${first.position}")`)).toEqual([who.patient]);
    expect(await found('name: "MULL"', `(position: "${first.position}")`)).toEqual([who.patient]);
    expect(await found('name: "mull"')).toEqual([]);
    expect(await found('name: "renam josé"')).toEqual([who.patient]);
    expect(await found('name: "rename x"')).toEqual([]);
  });

  it('by birth date, identifier and authority, place and class of a visit under way', async () => {
    expect(await found(`birthDate: "1950-01-01", name: "obrien"`)).toEqual([older.patient]);
    expect(await found(`identifier: "${who.mrn}", authority: "mercy"`)).toEqual([who.patient]);
    expect(await found(`identifier: "${who.mrn}", authority: "ELSEWHERE"`)).toEqual([]);
    expect(await found('location: "icu"')).toEqual([older.patient]);
    expect(await found('location: "ICU", encounterClass: "EMER"')).toEqual([older.patient]);
    expect(await found('location: "ICU", encounterClass: "IMP"')).toEqual([]);
    expect(await found(`ids: ["${who.patient}", "nobody"]`)).toEqual([who.patient]);
  });

  it('by one identifier', async () => {
    const { at: answer } = await hub.data<{ at: { mine: { id: string } | null; none: unknown } }>(
      `{ at { mine: patientByIdentifier(authority: "MERCY", value: "${who.mrn}") { id } none: patientByIdentifier(authority: "X", value: "${who.mrn}") { id } } }`,
    );
    expect(answer).toEqual({ mine: { id: who.patient }, none: null });
  });

  it('counts by place, class, sex, age and diagnosis', async () => {
    const { at: answer } = await hub.data<{
      at: { population: { key: { dimension: string; value: string | null }[]; count: number }[] };
    }>(
      '{ at { population(by: [LOCATION, CLASS, SEX, AGE_BAND], filter: { location: "ICU" }) { key { dimension value } count } } }',
    );
    expect(answer.population).toEqual([
      {
        key: [
          { dimension: 'LOCATION', value: 'ICU' },
          { dimension: 'CLASS', value: 'EMER' },
          { dimension: 'SEX', value: 'FEMALE' },
          { dimension: 'AGE_BAND', value: '70-79' },
        ],
        count: 1,
      },
    ]);
  });
});

describe('a message', () => {
  it('shows its bytes, its tree, what it changed with the rule that wrote it, and its patient', async () => {
    const who = person();
    const sent = await hub.send({ ...admission(who, 'BODY^Ada'), controlId: 'BODY-1' });
    const { message } = await hub.data<{
      message: {
        type: string;
        controlId: string;
        status: string;
        position: string;
        patient: { id: string };
        body: { text: string; base64: string; length: number; tree: unknown[] };
        facts: {
          kind: string;
          operation: string;
          id: string;
          before: unknown;
          after: { resourceType: string };
          fields: { path: string; after: unknown; rule: string | null }[];
        }[];
        source: { id: string };
        proof: null;
      };
    }>(
      `query ($id: ID!) { message(id: $id) { type controlId status position patient { id } source { id } proof { leafHash } body { text base64 length tree }
         facts { kind operation id before after fields { path after rule } } } }`,
      { id: sent.id },
    );
    const lines = admissionLines(message.body.text).length;
    expect(lines).toBe(4);
    expect(Buffer.from(message.body.base64, 'base64').toString()).toBe(message.body.text);
    expect(message.body.tree).toHaveLength(4);
    expect(message).toMatchObject({
      type: 'ADT^A01',
      controlId: 'BODY-1',
      status: 'APPLIED',
      position: sent.position.toString(),
      patient: { id: who.patient },
      source: { id: 'mllp' },
      proof: null,
    });
    const demographics = message.facts.find(({ kind }) => kind === 'PATIENT');
    expect(demographics).toMatchObject({
      operation: 'ASSERTED',
      id: who.patient,
      before: null,
      after: { resourceType: 'Patient' },
    });
    expect(demographics?.fields).toContainEqual({
      path: 'name[0].family',
      after: 'BODY',
      rule: 'PID-5.1 → name.family',
    });
    expect(
      message.facts
        .find(({ kind }) => kind === 'ENCOUNTER')
        ?.fields.some(({ rule }) => rule?.startsWith('PV1-3') ?? false),
    ).toBe(true);
  });

  function admissionLines(text: string): string[] {
    return text.split('\r');
  }

  it('that is in the log and not projected yet says so', async () => {
    const [sent] = await hub.append([admission(person(), 'PENDING^A')]);
    const { id, position, recordedAt } = sent as Sent;
    await hub.database.pool.query(
      `insert into inbound.message (event_id, duplicate_key, position, recorded_at, status, answer) values ($1, $1, $2, $3, 'accepted', 'AA')`,
      [id, position, recordedAt],
    );
    const ask = async (): Promise<unknown> =>
      (
        await hub.data<{ message: unknown }>(
          'query ($id: ID!) { message(id: $id) { status type position body { length } } }',
          { id },
        )
      ).message;
    expect(await ask()).toMatchObject({ status: 'PENDING', type: 'ADT^A01', position: position.toString() });
    await hub.project();
    expect(await ask()).toMatchObject({ status: 'APPLIED', type: 'ADT^A01', position: position.toString() });
  });

  it('is listed in order of position, page by page, by its filters', async () => {
    const who = person();
    const sent = [
      await hub.send(admission(who, 'LIST^A')),
      await hub.send(result(who, 60, 1)),
      await hub.send(result(who, 61, 2)),
    ];
    interface Page {
      readonly messages: { nodes: { id: string }[]; pageInfo: { hasNextPage: boolean; endCursor: string } };
    }
    const query = `query ($patient: ID, $type: String, $after: String) { messages(filter: { patient: $patient, type: $type }, first: 2, after: $after) {
      nodes { id } pageInfo { hasNextPage endCursor } } }`;
    const first = await hub.data<Page>(query, { patient: who.patient });
    const second = await hub.data<Page>(query, { patient: who.patient, after: first.messages.pageInfo.endCursor });
    expect([...first.messages.nodes, ...second.messages.nodes].map(({ id }) => id)).toEqual(sent.map(({ id }) => id));
    expect(second.messages.pageInfo.hasNextPage).toBe(false);
    expect((await hub.data<Page>(query, { patient: who.patient, type: 'ORU^R01' })).messages.nodes).toHaveLength(2);
  });
});

describe('a chart', () => {
  const who = person();
  const sent: Sent[] = [];
  beforeAll(async () => {
    sent.push(await hub.send(admission(who, 'CHART^A')));
    sent.push(await hub.send(result(who, 60, 1)));
    sent.push(
      await hub.send({
        record: who.record,
        patient: who.patient,
        content: adt({ trigger: 'A02', mrn: who.mrn, at: at('12:00:00'), location: '5W^1^1' }),
      }),
    );
    sent.push(
      await hub.send({
        record: who.record,
        patient: who.patient,
        content: adt({ trigger: 'A03', mrn: who.mrn, at: at('13:00:00'), location: '5W^1^1' }),
      }),
    );
  });

  interface Line {
    readonly node: {
      readonly at: string;
      readonly kind: string;
      readonly title: string;
      readonly message: { id: string };
    };
    readonly cursor: string;
  }

  async function timeline(more: string): Promise<Line[]> {
    const { at: answer } = await hub.data<{ at: { patient: { timeline: { edges: Line[] } } } }>(
      `{ at(position: "${sent[3]?.position}") { patient(id: "${who.patient}") { timeline${more} { edges { cursor node { at kind title message { id } } } } } } }`,
    );
    return answer.patient.timeline.edges;
  }

  it('has a timeline in clinical order, newest first unless asked otherwise, page by page', async () => {
    const oldest = await timeline('(newestFirst: false, kinds: [ENCOUNTER, OBSERVATION])');
    expect(oldest.map(({ node }) => [node.at, node.kind, node.message.id])).toEqual([
      [at('10:00:00.000000'), 'ENCOUNTER', sent[0]?.id],
      [at('11:01:00.000000'), 'OBSERVATION', sent[1]?.id],
      [at('12:00:00.000000'), 'ENCOUNTER', sent[2]?.id],
      [at('13:00:00.000000'), 'ENCOUNTER', sent[3]?.id],
    ]);
    expect(oldest[2]?.node.title).toBe('Moved to 5W 1 1');
    const newest = await timeline('(kinds: [ENCOUNTER, OBSERVATION])');
    expect(newest.map(({ node }) => node.at)).toEqual(oldest.map(({ node }) => node.at).reverse());
    const page = await timeline(`(kinds: [ENCOUNTER, OBSERVATION], first: 2, after: "${newest[0]?.cursor}")`);
    expect(page.map(({ cursor }) => cursor)).toEqual([newest[1]?.cursor, newest[2]?.cursor]);
    const half = await timeline(
      `(kinds: [ENCOUNTER, OBSERVATION], from: "${at('11:01:00')}", to: "${at('13:00:00')}")`,
    );
    expect(half).toHaveLength(2);
  });

  it('gives each thing by its id, with its history', async () => {
    const { at: answer } = await hub.data<{ at: { patient: { encounters: { nodes: { id: string }[] } } } }>(
      `{ at { patient(id: "${who.patient}") { encounters { nodes { id } } } } }`,
    );
    const id = answer.patient.encounters.nodes[0]?.id as string;
    const { at: node } = await hub.data<{
      at: {
        node: {
          __typename: string;
          status: string;
          history: {
            nodes: { operation: string; resource: { status: string } | null; meta: { message: { id: string } } }[];
          };
        };
      };
    }>(
      `query ($id: ID!) { at(position: "${sent[3]?.position}") { node(id: $id) { __typename ... on Encounter { status }
         history { nodes { operation resource meta { message { id } } } } } } }`,
      { id },
    );
    expect(node.node).toMatchObject({ __typename: 'Encounter', status: 'finished' });
    expect(node.node.history.nodes.map(({ meta }) => meta.message.id)).toEqual([sent[0]?.id, sent[2]?.id, sent[3]?.id]);
    expect(node.node.history.nodes.map(({ resource }) => resource?.status)).toEqual([
      'in-progress',
      'in-progress',
      'finished',
    ]);
    const { at: nothing } = await hub.data<{ at: { node: unknown } }>('{ at { node(id: "nothing") { id } } }');
    expect(nothing.node).toBeNull();
  });

  it('shows what changed between two points, field by field, each with its message, oldest first and page by page', async () => {
    interface Diff {
      readonly diff: {
        readonly edges: {
          cursor: string;
          node: {
            kind: string;
            operation: string;
            message: { id: string };
            fields: { path: string; before: unknown; after: unknown }[];
          };
        }[];
        readonly pageInfo: { hasNextPage: boolean; endCursor: string };
      };
    }
    const query = `query ($from: PointInput!, $to: PointInput!, $patient: ID, $first: Int, $after: String) {
      diff(from: $from, to: $to, patient: $patient, first: $first, after: $after) { edges { cursor node { kind operation message { id } fields { path before after } } } pageInfo { hasNextPage endCursor } } }`;
    const points = {
      from: { position: sent[0]?.position.toString(), validAt: at('20:00:00') },
      to: { position: sent[3]?.position.toString(), validAt: at('20:00:00') },
      patient: who.patient,
    };
    const all = (await hub.data<Diff>(query, points)).diff.edges;
    expect(all.map(({ node }) => [node.kind, node.message.id])).toEqual([
      ['OBSERVATION', sent[1]?.id],
      ['DIAGNOSTIC_REPORT', sent[1]?.id],
      ['ENCOUNTER', sent[2]?.id],
      ['ENCOUNTER', sent[3]?.id],
    ]);
    // The discharge says the place again; the transfer is what changed it.
    expect(all[2]?.node.fields).toContainEqual({
      path: 'location[0].location.display',
      before: '4E 12 1',
      after: '5W 1 1',
    });
    expect(all[3]?.node.fields).toContainEqual({ path: 'status', before: 'in-progress', after: 'finished' });
    const paged: string[] = [];
    let after: string | undefined;
    for (;;) {
      const { diff } = await hub.data<Diff>(query, { ...points, first: 1, after });
      paged.push(...diff.edges.map(({ cursor }) => cursor));
      if (!diff.pageInfo.hasNextPage) break;
      after = diff.pageInfo.endCursor;
    }
    expect(paged).toEqual(all.map(({ cursor }) => cursor));
    const back = (await hub.data<Diff>(query, { from: points.to, to: points.from, patient: who.patient })).diff.edges;
    expect(back.map(({ node }) => node.message.id)).toEqual(all.map(({ node }) => node.message.id));
    expect(back[3]?.node.fields).toContainEqual({ path: 'status', before: 'finished', after: 'in-progress' });
    const everybody = (await hub.data<Diff>(query, { ...points, patient: undefined })).diff.edges;
    expect(everybody.map(({ cursor }) => cursor)).toEqual(all.map(({ cursor }) => cursor));
  });
});

describe('search', () => {
  const who = person();
  let first: Sent;
  let last: Sent;
  beforeAll(async () => {
    first = await hub.send(admission(who, 'Quillfeather^Ottoline'));
    await hub.send(result(who, 61, 5));
    last = await hub.send({
      record: who.record,
      patient: who.patient,
      content: adt({ trigger: 'A08', mrn: who.mrn, name: 'Brambleshaw^Ottoline', at: at('15:00:00') }),
    });
  });

  interface Hit {
    readonly kind: string;
    readonly patient: { readonly id: string };
    readonly fact: { readonly id: string };
    readonly score: number;
    readonly highlights: readonly string[];
  }

  async function hits(given: string, basis = ''): Promise<readonly Hit[]> {
    const { at: answer } = await hub.data<{ at: { search: { nodes: Hit[] } } }>(
      `{ at${basis} { search(${given}) { nodes { kind patient { id } fact { id } score highlights } } } }`,
    );
    return answer.search.nodes;
  }

  it('finds people by name, one edit away too, as the name stood at the basis', async () => {
    expect(await hits('text: "brambleshaw"')).toMatchObject([
      {
        kind: 'PATIENT',
        patient: { id: who.patient },
        fact: { id: who.patient },
        highlights: ['Ottoline Brambleshaw'],
      },
    ]);
    expect((await hits('text: "bramblshaw otto"')).map(({ patient }) => patient.id)).toEqual([who.patient]);
    expect(await hits('text: "quillfeather"')).toEqual([]);
    expect(
      (await hits('text: "quilfeather"', `(position: "${first.position}")`)).map(({ patient }) => patient.id),
    ).toEqual([who.patient]);
    expect(await hits('text: "brambleshaw"', `(position: "${first.position}")`)).toEqual([]);
    expect(
      (await hits('text: "quillfeather"', `(position: "${last.position}", validAt: "${at('14:00:00')}")`)).map(
        ({ patient }) => patient.id,
      ),
    ).toEqual([who.patient]);
  });

  it('finds identifiers and results, of everybody or of one', async () => {
    expect((await hits(`text: "${who.mrn}"`)).map(({ patient }) => patient.id)).toContain(who.patient);
    const results = await hits(`text: "heart rate", kinds: [OBSERVATION], patient: "${who.patient}"`);
    expect(results).toHaveLength(1);
    expect(results[0]).toMatchObject({ kind: 'OBSERVATION', patient: { id: who.patient } });
  });

  it('behind the basis is an error on its own field only', async () => {
    const other = person();
    await hub.append([admission(other, 'Behind^A')]);
    await hub.project(500, 'master');
    const answer = await hub.ask('{ at { basis { position } search(text: "behind") { nodes { score } } } }');
    expect(answer.errors).toMatchObject([{ path: ['at', 'search'], extensions: { code: 'SEARCH_UNAVAILABLE' } }]);
    expect(answer.data).toMatchObject({ at: { search: null, basis: {} } });
    await hub.project();
    expect(await hits('text: "behind"')).toHaveLength(1);
  });
});

describe('the hub itself', () => {
  it('shows its log and its projections', async () => {
    const { log, projections, deadLetters, sources } = await hub.data<{
      log: { head: string; adapter: string; id: string; events: string };
      projections: { name: string; position: string; lagEvents: string; parked: number }[];
      deadLetters: { nodes: unknown[] };
      sources: { id: string }[];
    }>(
      '{ log { head clockMark events adapter id } projections { name version position lagSeconds lagEvents rate parked state rebuild { version } lastError } deadLetters { nodes { id } } sources { id kind enabled version settings } }',
    );
    expect(log).toMatchObject({ adapter: 'postgres', id: hub.reader.id });
    expect(projections).toMatchObject(
      ['master', 'search'].map((name) => ({ name, position: log.head, lagEvents: '0', parked: 0 })),
    );
    expect(deadLetters.nodes).toEqual([]);
    expect(sources.map(({ id }) => id)).toEqual(['file', 'http', 'mllp']);
  });

  it('refuses what is not there yet with a code, and what the writer would have to do while it is away', async () => {
    const merge = await hub.ask('mutation { mergePatients(survivor: "a", merged: "b", reason: "x") { id } }');
    expect(merge.errors?.[0]?.extensions['code']).toBe('NOT_AVAILABLE');
    const rebuild = await hub.ask('mutation { rebuildProjection(name: "master") { name } }');
    expect(rebuild.errors?.[0]?.extensions['code']).toBe('WRITER_UNAVAILABLE');
    const source = await hub.ask(
      'mutation { setSource(id: "mllp", settings: { queueBound: 5 }, idempotencyKey: "k") { id } }',
    );
    expect(source.errors?.[0]?.extensions).toMatchObject({ code: 'WRITER_UNAVAILABLE', outcome: 'not-done' });
    const unknown = await hub.ask('mutation { pauseProjection(name: "nothing") { name } }');
    expect(unknown.errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');
    const conflict = await hub.ask('mutation { pauseProjection(name: "master", expectedVersion: 99) { name } }');
    expect(conflict.errors?.[0]?.extensions['code']).toBe('CONFLICT');
  });

  it('says of its own faults nothing but that', async () => {
    await hub.database.pool.query('alter table master.note_v1 rename to note_away');
    try {
      const who = person();
      await hub.database.pool.query('select 1');
      const { at: now } = await hub.data<{ at: { patients: { nodes: { id: string }[] } } }>(
        '{ at { patients(first: 1) { nodes { id } } } }',
      );
      const answer = await hub.ask(
        `{ at { patient(id: "${now.patients.nodes[0]?.id ?? who.patient}") { timeline { nodes { title } } } } }`,
      );
      expect(answer.errors).toMatchObject([
        { message: 'the hub could not answer this', extensions: { code: 'INTERNAL_SERVER_ERROR' } },
      ]);
    } finally {
      await hub.database.pool.query('alter table master.note_away rename to note_v1');
    }
  });
});
