import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { adt, hl7Time, person, TestHub, type FhirBody, type Sent } from '../support.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub.stop());

function oru(mrn: string, code: string, value: string, at: string, status = 'F'): string[] {
  return [
    `MSH|^~\\&|LAB|MERCY|HUB|HUB|${hl7Time(at)}||ORU^R01|O${mrn}${code}${value}${status}|P|2.5.1`,
    `PID|1||${mrn}^^^MERCY^MR||`,
    `OBR|1||F-${mrn}-${code}|${code}^Test ${code}^LN|||${hl7Time(at)}`,
    `OBX|1|NM|${code}^Test ${code}^LN||${value}|mmol/L|||||${status}|||${hl7Time(at)}`,
  ];
}

/** A microsecond before what is given. */
function before(instant: string): string {
  const microseconds = BigInt(instant.slice(20, 26)) - 1n;
  if (microseconds < 0n) throw new Error('not in this test');
  return `${instant.slice(0, 20)}${microseconds.toString().padStart(6, '0')}Z`;
}

function resources(body: FhirBody): FhirBody[] {
  return (body.entry ?? []).flatMap(({ resource }) => resource ?? []);
}

function ids(body: FhirBody): string[] {
  return (body.entry ?? []).map(({ fullUrl = '' }) => fullUrl.replace(/^.*\//, ''));
}

function nextOf(body: FhirBody): string | undefined {
  return body.link?.find(({ relation }) => relation === 'next')?.url.replace(/^.*\/fhir\//, '');
}

/** All pages. */
async function pages(path: string): Promise<FhirBody[]> {
  const found: FhirBody[] = [];
  for (let next: string | undefined = path; next !== undefined;) {
    const { status, body } = await hub.fhir(next);
    expect(status).toBe(200);
    found.push(body);
    next = nextOf(body);
  }
  return found;
}

describe('a FHIR resource', () => {
  const who = person();
  let admitted: Sent;
  let renamed: Sent;

  beforeAll(async () => {
    admitted = await hub.send({
      ...who,
      content: adt({ trigger: 'A01', mrn: who.mrn, name: 'OLD^ANNA', at: '2026-03-01T10:00:00Z', location: '3W^1^1' }),
    });
    await hub.send({ ...who, content: oru(who.mrn, '2823-3', '4.1', '2026-03-01T11:00:00Z') });
    renamed = await hub.send({
      ...who,
      content: adt({ trigger: 'A08', mrn: who.mrn, name: 'NEW^ANNA', at: '2026-03-01T12:00:00Z' }),
    });
  });

  it('is read with the position of what made it as its version, and not sent again to who has it', async () => {
    const { status, headers, body } = await hub.fhir(`Patient/${who.patient}`);
    expect(status).toBe(200);
    expect(headers.get('content-type')).toContain('application/fhir+json');
    expect(headers.get('cache-control')).toBe('private, no-cache');
    expect(headers.get('etag')).toBe(`W/"${renamed.position}"`);
    expect(body).toMatchObject({
      resourceType: 'Patient',
      id: who.patient,
      meta: { versionId: renamed.position.toString(), lastUpdated: renamed.recordedAt },
      name: [{ family: 'NEW', given: ['ANNA'] }],
    });
    const statements = hub.store.statements;
    const again = await hub.fhir(`Patient/${who.patient}`, { 'if-none-match': headers.get('etag') as string });
    expect(hub.store.statements - statements).toBe(1);
    expect(again.status).toBe(304);
  });

  it('is read by version, each as it was, and as of any moment', async () => {
    const first = await hub.fhir(`Patient/${who.patient}/_history/${admitted.position}`);
    expect(first.body).toMatchObject({ name: [{ family: 'OLD' }], meta: { versionId: admitted.position.toString() } });
    const then = await hub.fhir(`Patient/${who.patient}?_at=${before(renamed.recordedAt)}`);
    expect(then.body).toMatchObject({ name: [{ family: 'OLD' }] });
    const now = await hub.fhir(`Patient/${who.patient}?_at=${renamed.recordedAt}`);
    expect(now.body).toMatchObject({ name: [{ family: 'NEW' }] });
    expect((await hub.fhir(`Patient/${who.patient}/_history/1`)).status).toBe(404);
    expect((await hub.fhir(`Patient/${who.patient}?_at=2026-03`)).status).toBe(400);
  });

  it('that never was is 404, one of another type too', async () => {
    expect((await hub.fhir('Patient/00000000-0000-4000-8000-000000000000')).status).toBe(404);
    expect((await hub.fhir(`Observation/${who.patient}`)).status).toBe(404);
    expect((await hub.fhir('Nonsense/1')).status).toBe(404);
    expect((await hub.fhir(`Patient/${who.patient}`, {}, 'DELETE')).status).toBe(405);
    expect((await hub.fhir(`Patient/${who.patient}`, { accept: 'application/fhir+xml' })).status).toBe(406);
  });

  it('has ids that FHIR allows, the same in links, in the graph and in its own history', async () => {
    const { body } = await hub.fhir(`Observation?patient=${who.patient}`);
    const [observation] = resources(body);
    const id = observation?.id as string;
    expect(id).toMatch(/^[A-Za-z0-9.-]{1,64}$/);
    expect((await hub.fhir(`Observation/${id}`)).body).toEqual(observation);
    const history = await hub.fhir(`Observation/${id}/_history`);
    expect(resources(history.body)).toEqual([observation]);
    const { at } = await hub.data<{ at: { node: { resource: { id: string } } } }>(
      `{ at { node(id: "${id.replaceAll('.', '_')}") { ... on Observation { resource } } } }`,
    );
    expect(at.node.resource.id).toBe(id);
  });

  it('that was cancelled is gone, and its history says so', async () => {
    const other = person();
    const at = '2026-03-02T10:00:00Z';
    await hub.send({ ...other, content: adt({ trigger: 'A01', mrn: other.mrn, name: 'X^Y', at, location: 'ER' }) });
    const [encounter] = resources((await hub.fhir(`Encounter?patient=${other.patient}`)).body);
    const cancelled = await hub.send({
      ...other,
      content: adt({ trigger: 'A11', mrn: other.mrn, name: 'X^Y', at, location: 'ER' }),
    });
    const gone = await hub.fhir(`Encounter/${encounter?.id}`);
    expect(gone.status).toBe(410);
    const { body } = await hub.fhir(`Encounter/${encounter?.id}/_history`);
    expect(body.entry?.map(({ request }) => request?.method)).toEqual(['DELETE', 'POST']);
    expect((await hub.fhir(`Encounter/${encounter?.id}?_at=${before(cancelled.recordedAt)}`)).status).toBe(200);
    expect((await hub.fhir(`Encounter?patient=${other.patient}`)).body.total).toBe(0);
  });

  it('that was merged away is inactive and names who replaced it, who names it in turn', async () => {
    const [one, other] = [person(), person()];
    await hub.send({ ...one, content: adt({ trigger: 'A28', mrn: one.mrn, name: 'A^A', at: '2026-03-03T10:00:00Z' }) });
    await hub.send({
      ...other,
      content: adt({ trigger: 'A28', mrn: other.mrn, name: 'B^B', at: '2026-03-03T11:00:00Z' }),
    });
    const merge = await hub.send({
      ...one,
      links: [{ sourceRecordId: other.record, patientId: one.patient, reason: 'merge' }],
      content: adt({ trigger: 'A40', mrn: one.mrn, merged: other.mrn, at: '2026-03-03T12:00:00Z' }),
    });
    expect((await hub.fhir(`Patient/${other.patient}`)).body).toMatchObject({
      active: false,
      meta: { versionId: merge.position.toString() },
      link: [{ other: { reference: `Patient/${one.patient}` }, type: 'replaced-by' }],
    });
    expect((await hub.fhir(`Patient/${one.patient}`)).body).toMatchObject({
      meta: { versionId: merge.position.toString() },
      link: [{ other: { reference: `Patient/${other.patient}` }, type: 'replaces' }],
    });
    const then = await hub.fhir(`Patient/${other.patient}?_at=${before(merge.recordedAt)}`);
    expect(then.body).toMatchObject({ name: [{ family: 'B' }] });
    expect(ids((await hub.fhir('Patient?family=A&given=A')).body)).toEqual([]);
    expect(ids((await hub.fhir('Patient?family=B&given=B')).body)).toEqual([one.patient]);
  });

  it('shows what is dated ahead from its time on, as a version of the message that told it', async () => {
    const other = person();
    await hub.send({
      ...other,
      content: adt({ trigger: 'A28', mrn: other.mrn, name: 'SOON^NOT', at: '2026-03-03T10:00:00Z' }),
    });
    const told = await hub.send({
      ...other,
      content: adt({ trigger: 'A08', mrn: other.mrn, name: 'SOON^NOW', at: '2999-01-01T00:00:00Z' }),
    });
    expect((await hub.fhir(`Patient/${other.patient}`)).body).toMatchObject({ name: [{ given: ['NOT'] }] });
    expect((await hub.fhir(`Patient/${other.patient}/_history/${told.position}`)).status).toBe(404);
  });
});

describe('FHIR searches', () => {
  const people = Array.from({ length: 7 }, () => person());
  const potassium: Sent[] = [];

  beforeAll(async () => {
    for (const [index, who] of people.entries()) {
      await hub.send({
        ...who,
        content: adt({
          trigger: 'A01',
          mrn: who.mrn,
          name: `SEARCHED^${['Ada', 'Bea', 'Cléa', 'Dora', 'Eva', 'Fay', 'Gil'][index]}`,
          birthDate: `198${index}0229`.replace(/0229$/, '0115'),
          sex: index % 2 === 0 ? 'F' : 'M',
          at: '2026-04-01T10:00:00Z',
          location: '4E^12^1',
        }),
      });
    }
    const [first] = people;
    if (first === undefined) return;
    for (const [index, value] of ['3.9', '4.1', '6.9'].entries()) {
      potassium.push(
        await hub.send({ ...first, content: oru(first.mrn, `K${index}`, value, `2026-04-02T1${index}:00:00Z`) }),
      );
    }
  });

  it.each([
    ['family=searched&given=CLEA', ['Cléa']],
    ['name=Searched&birthdate=1983-01-15', ['Dora']],
    ['family=SEARCHED&birthdate=gt1984', ['Fay', 'Gil']],
    ['family=SEARCHED&birthdate=le1981', ['Ada', 'Bea']],
    ['family=SEARCHED&given=Ada,Bea', ['Ada', 'Bea']],
    ['family=SEARCHED&gender=male', ['Bea', 'Dora', 'Fay']],
    ['family=SEARCHED&gender:not=male', ['Ada', 'Cléa', 'Eva', 'Gil']],
    ['family:exact=Searched', []],
    ['family=SEARCHED&given:contains=il', ['Gil']],
    ['family=SEARCHED&given:missing=true', []],
    ['family=SEARCHED&phone:missing=false', []],
  ])('of people, %s', async (query, given) => {
    const { status, body } = await hub.fhir(`Patient?${query}`);
    expect(status).toBe(200);
    const found = resources(body).map(({ name }) => (name as { given: string[] }[])[0]?.given[0] as string);
    expect(found.sort()).toEqual(given);
    expect(body.total).toBe(given.length);
  });

  it('of people by identifier, with its authority and without', async () => {
    const [first] = people;
    for (const value of [first?.mrn, `MERCY|${first?.mrn}`, `mercy|${first?.mrn}`]) {
      expect(ids((await hub.fhir(`Patient?identifier=${value}`)).body)).toEqual([first?.patient]);
    }
    expect(ids((await hub.fhir(`Patient?identifier=OTHER|${first?.mrn}`)).body)).toEqual([]);
    expect(ids((await hub.fhir(`Patient?_id=${first?.patient}`)).body)).toEqual([first?.patient]);
  });

  it.each([
    ['code=K1', ['4.1']],
    ['code=http://loinc.org|K1', ['4.1']],
    ['code=http://snomed.info/sct|K1', []],
    ['value-quantity=gt4.1', ['6.9']],
    ['value-quantity=4.1||mmol/L', ['4.1']],
    ['date=ge2026-04-02T11:00:00Z', ['4.1', '6.9']],
    ['date=2026-04-02&status=final', ['3.9', '4.1', '6.9']],
    ['date=2026-04-03', []],
  ])('of results of one person, %s', async (query, values) => {
    const { body } = await hub.fhir(`Observation?patient=Patient/${people[0]?.patient}&${query}`);
    const found = resources(body).map(({ valueQuantity }) => String((valueQuantity as { value: number }).value));
    expect(found.sort()).toEqual(values);
    const everybody = await hub.fhir(`Observation?${query}`);
    const mine = resources(everybody.body).filter(({ id }) => ids(body).includes(id as string));
    expect(mine).toHaveLength(values.length);
  });

  it('are newest first, or sorted as asked where a patient is named, and bring the patient along', async () => {
    const values = async (more: string): Promise<unknown[]> =>
      resources((await hub.fhir(`Observation?subject=${people[0]?.patient}${more}`)).body).map(
        ({ valueQuantity }) => (valueQuantity as { value: number }).value,
      );
    expect(await values('')).toEqual([6.9, 4.1, 3.9]);
    expect(await values('&_sort=date')).toEqual([3.9, 4.1, 6.9]);
    expect(await values('&_sort=-_lastUpdated')).toEqual([6.9, 4.1, 3.9]);
    const { body } = await hub.fhir(`Observation?patient=${people[0]?.patient}&_include=Observation:patient`);
    expect(body.entry?.map(({ search }) => search?.mode)).toEqual(['match', 'match', 'match', 'include']);
  });

  it('come page by page without a gap or a repeat, though more arrives meanwhile', async () => {
    const found: string[] = [];
    let next: string | undefined = 'Patient?family=SEARCHED&_count=3';
    for (let page = 0; next !== undefined; page += 1) {
      const { body } = await hub.fhir(next);
      found.push(...ids(body));
      next = nextOf(body);
      const late = person();
      await hub.send({
        ...late,
        content: adt({ trigger: 'A28', mrn: late.mrn, name: 'SEARCHED^Late', at: '2026-04-01T10:00:00Z' }),
      });
      expect(page).toBeLessThan(4);
    }
    expect(found).toEqual(people.map(({ patient }) => patient).sort());
  });

  it('say how many there are', async () => {
    const { body } = await hub.fhir('Patient?family=SEARCHED&gender=male&_summary=count');
    expect(body).toMatchObject({ total: 3 });
    expect(body.entry).toBeUndefined();
    expect((await hub.fhir('Patient?family=SEARCHED&gender=male&_count=1&_total=accurate')).body).toMatchObject({
      total: 3,
    });
  });

  it('by POST are the same', async () => {
    const response = await fetch(`${hub.url}/fhir/Patient/_search`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'family=SEARCHED&gender=male',
    });
    expect((await response.json()) as FhirBody).toMatchObject({ total: 3 });
  });

  it('refuse a modifier or a value that means nothing, whatever the client prefers', async () => {
    for (const query of ['family:sounds=x', 'birthdate=soon', 'birthdate=ap1984', '_count=many'])
      expect((await hub.fhir(`Patient?${query}`)).status).toBe(400);
  });
});

describe('everything about a person', () => {
  it('is the person and all facts, page by page, as of any moment', async () => {
    const who = person();
    await hub.send({
      ...who,
      content: adt({ trigger: 'A01', mrn: who.mrn, name: 'ALL^OF', at: '2026-05-01T10:00:00Z', location: 'W1' }),
    });
    const result = await hub.send({ ...who, content: oru(who.mrn, 'NA', '140', '2026-05-01T11:00:00Z') });
    const types = async (query: string): Promise<string[]> =>
      (await pages(`Patient/${who.patient}/$everything?${query}`)).flatMap((body) =>
        resources(body).map(({ resourceType }) => resourceType),
      );
    expect(await types('')).toEqual(['Patient', 'Encounter', 'Observation', 'DiagnosticReport']);
    expect(await types('_count=1')).toEqual(['Patient', 'Encounter', 'Observation', 'DiagnosticReport']);
    expect(await types(`_at=${before(result.recordedAt)}`)).toEqual(['Patient', 'Encounter']);
    expect(await types('_type=Observation')).toEqual(['Observation']);
    expect(await types(`_since=${result.recordedAt}`)).toEqual(['Patient', 'Observation', 'DiagnosticReport']);
    expect((await hub.fhir('Patient/00000000-0000-4000-8000-000000000000/$everything')).status).toBe(404);
  });
});

describe('where the leading FHIR server is wrong (hard case 35)', () => {
  const [changed, still] = [person(), person()];
  let firstOf: Sent;
  let second: Sent;

  beforeAll(async () => {
    firstOf = await hub.send({
      ...changed,
      content: adt({ trigger: 'A28', mrn: changed.mrn, name: 'FORMER^NAME', at: '2026-06-01T10:00:00Z' }),
    });
    await hub.send({
      ...still,
      content: adt({ trigger: 'A28', mrn: still.mrn, name: 'STEADY^NAME', at: '2026-06-01T10:00:00Z' }),
    });
    second = await hub.send({
      ...changed,
      content: adt({ trigger: 'A08', mrn: changed.mrn, name: 'LATTER^NAME', at: '2026-06-02T10:00:00Z' }),
    });
  });

  async function standing(path: string): Promise<Map<string, FhirBody>> {
    const found = (await pages(path)).flatMap(resources).map((one) => [one.id as string, one] as const);
    expect(new Set(found.map(([id]) => id)).size).toBe(found.length);
    return new Map(found);
  }

  it('type-level _at shows the version that was current then, and every other resource that stood unchanged', async () => {
    const at = before(second.recordedAt);
    const patients = await standing(`Patient/_history?_at=${at}&_count=5`);
    expect(patients.get(changed.patient)).toMatchObject({
      name: [{ family: 'FORMER' }],
      meta: { versionId: firstOf.position.toString() },
    });
    expect(patients.get(still.patient)).toMatchObject({ name: [{ family: 'STEADY' }] });
    const { at: snapshot } = await hub.data<{ at: { patients: { nodes: { id: string }[] } } }>(
      `{ at(knownAt: "${at}") { patients(first: 1000) { nodes { id } } } }`,
    );
    const current = [...patients.values()].filter(({ active }) => active !== false).map(({ id }) => id);
    expect(current.sort()).toEqual(snapshot.patients.nodes.map(({ id }) => id).sort());
  });

  it('system-level _at shows everything that was current then, of every type', async () => {
    const found = await standing(`_history?_at=${before(second.recordedAt)}&_count=7`);
    expect(found.get(still.patient)).toMatchObject({ name: [{ family: 'STEADY' }] });
    expect(new Set([...found.values()].map(({ resourceType }) => resourceType))).toEqual(
      new Set(['Patient', 'Encounter', 'Observation', 'DiagnosticReport']),
    );
  });

  it('_at with a span shows every version that was current at some moment of it', async () => {
    const span = firstOf.recordedAt.slice(0, 10);
    const { body } = await hub.fhir(`Patient/${changed.patient}/_history?_at=${span}`);
    expect(resources(body).map(({ meta }) => meta?.versionId)).toEqual([
      second.position.toString(),
      firstOf.position.toString(),
    ]);
    const moment = await hub.fhir(`Patient/${changed.patient}/_history?_at=${second.recordedAt}`);
    expect(resources(moment.body).map(({ meta }) => meta?.versionId)).toEqual([second.position.toString()]);
  });

  it('a search with _at finds by the name of then, and not by that of now', async () => {
    const at = before(second.recordedAt);
    expect(ids((await hub.fhir(`Patient?family=Former&_at=${at}`)).body)).toEqual([changed.patient]);
    expect(ids((await hub.fhir(`Patient?family=Latter&_at=${at}`)).body)).toEqual([]);
    expect(ids((await hub.fhir('Patient?family=Former')).body)).toEqual([]);
    expect(ids((await hub.fhir('Patient?family=Latter')).body)).toEqual([changed.patient]);
  });

  it('a parameter that is not supported is refused where the client is strict, else told of', async () => {
    const strict = await hub.fhir('Patient?family=Latter&favourite=x', { prefer: 'handling=strict' });
    expect(strict.status).toBe(400);
    expect(JSON.stringify(strict.body)).toContain('PARAMETER_NOT_SUPPORTED');
    const lenient = await hub.fhir('Patient?family=Latter&favourite=x');
    expect(lenient.status).toBe(200);
    expect(lenient.body.entry?.map(({ search }) => search?.mode)).toEqual(['match', 'outcome']);
    expect(lenient.body.link?.[0]?.url).not.toContain('favourite');
  });

  it('a history asked for right after ten quick updates has all ten, of the resource, its type and everything', async () => {
    const who = person();
    const sent = await hub.append(
      Array.from({ length: 10 }, (_, index) => ({
        ...who,
        content: adt({ trigger: 'A08', mrn: who.mrn, name: `QUICK^N${index}`, at: `2026-06-03T10:00:0${index}Z` }),
      })),
    );
    const asked = hub.fhir(`Patient/${who.patient}/_history?_count=4`);
    await hub.project(3);
    const wanted = sent.map(({ position }) => position.toString()).reverse();
    const first = (await asked).body;
    const rest = nextOf(first);
    const versions = [first, ...(rest === undefined ? [] : await pages(rest))]
      .flatMap(resources)
      .map(({ meta }) => meta?.versionId);
    expect(versions).toEqual(wanted);
    for (const path of ['Patient/_history', '_history']) {
      const { body } = await hub.fhir(`${path}?_since=${sent[0]?.recordedAt}&_count=10`);
      expect(resources(body).map(({ meta }) => meta?.versionId)).toEqual(wanted);
    }
  });

  it('the same search again gives the same bytes of the same basis, and new matches as soon as they are there', async () => {
    const who = person();
    const query = 'Patient?family=REPEATED';
    expect((await hub.fhir(query)).body.total).toBe(0);
    await hub.send({
      ...who,
      content: adt({ trigger: 'A28', mrn: who.mrn, name: 'REPEATED^ONE', at: '2026-06-04T10:00:00Z' }),
    });
    expect((await hub.fhir(query)).body.total).toBe(1);
  });
});

describe('the statement of what the hub can do', () => {
  it('names types, interactions and parameters that work, each tried', async () => {
    const { status, body } = await hub.fhir('metadata');
    expect(status).toBe(200);
    expect(body).toMatchObject({ resourceType: 'CapabilityStatement', fhirVersion: '4.0.1', kind: 'instance' });
    const [rest] = body['rest'] as { resource: { type: string; searchParam: { name: string; type: string }[] }[] }[];
    const example: Record<string, string> = { date: '2026', quantity: '1', reference: 'Encounter/1' };
    await Promise.all(
      (rest?.resource ?? []).map(async ({ type, searchParam }) => {
        const query = searchParam
          .filter(({ name }) => name !== '_id' && name !== 'patient' && name !== 'subject' && name !== 'beneficiary')
          .map((one) => `${one.name}=${example[one.type] ?? 'x'}`)
          .join('&');
        const search = await hub.fhir(`${type}?${query}`, { prefer: 'handling=strict' });
        expect([type, search.status]).toEqual([type, 200]);
        expect((await hub.fhir(`${type}/_history?_count=1`)).status).toBe(200);
      }),
    );
  });
});
