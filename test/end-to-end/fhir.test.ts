/** FHIR in and out of the built hub, over its own sockets: a client sees what it wrote, at once. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { startHubProcess, temporaryDataDir, type HubProcess } from '../support/hub-process.js';

let folder: Awaited<ReturnType<typeof temporaryDataDir>>;
let hub: HubProcess;
beforeAll(async () => {
  folder = await temporaryDataDir();
  hub = await startHubProcess(folder.dataDir);
});
afterAll(async () => {
  await hub.stop();
  await folder.remove();
});

interface Body {
  readonly resourceType: string;
  readonly total?: number;
  readonly entry?: readonly {
    readonly resource: { readonly id: string; readonly meta: { readonly versionId: string } };
  }[];
  readonly [element: string]: unknown;
}

async function fhir(
  path: string,
  options: { method?: string; body?: object; headers?: Record<string, string> } = {},
): Promise<{ readonly status: number; readonly headers: Headers; readonly body: Body }> {
  const response = await fetch(`${hub.run.http}/fhir/${path}`, {
    method: options.method ?? 'GET',
    headers: { 'content-type': 'application/fhir+json', ...options.headers },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as Body };
}

function patient(family: string): object {
  return { resourceType: 'Patient', id: 'p1', name: [{ family, given: ['Ada'] }], birthDate: '1984-02-29' };
}

it('ten quick updates are ten versions right after the last answer, in history, type history and search', async () => {
  const tags: string[] = [];
  let location = '';
  for (let index = 0; index < 10; index += 1) {
    const answer = await fhir('Patient/p1', { method: 'PUT', body: patient(`Quick${index}`) });
    expect(answer.status).toBe(index === 0 ? 201 : 200);
    tags.push(answer.headers.get('etag') as string);
    location = answer.headers.get('location') as string;
  }
  const id = /Patient\/([^/]+)\/_history/.exec(location)?.[1] as string;
  const wanted = tags.map((tag) => tag.slice(3, -1)).reverse();
  const versions = async (path: string): Promise<string[] | undefined> =>
    (await fhir(path)).body.entry?.map(({ resource }) => resource.meta.versionId);
  expect(await versions(`Patient/${id}/_history`)).toEqual(wanted);
  expect(await versions('Patient/_history')).toEqual(wanted);
  expect((await fhir('Patient?family=Quick9')).body.total).toBe(1);
  expect((await fhir('Patient?family=Quick8')).body.total).toBe(0);
  const read = await fhir(`Patient/${id}`);
  expect(read.headers.get('etag')).toBe(tags.at(-1));
  // What a create or update names in Location is there to be read.
  expect((await fhir(location.replace(/^.*\/fhir\//, ''))).body).toEqual(read.body);
  expect(
    (await fhir(`Patient/${id}?_at=${String((read.body['meta'] as { lastUpdated: string }).lastUpdated)}`)).body,
  ).toEqual(read.body);

  const stale = await fhir('Patient/p1', {
    method: 'PUT',
    body: patient('Stale'),
    headers: { 'if-match': tags[4] as string },
  });
  expect(stale.status).toBe(412);
  const fresh = await fhir('Patient/p1', {
    method: 'PUT',
    body: patient('Fresh'),
    headers: { 'if-match': read.headers.get('etag') as string },
  });
  expect(fresh.status).toBe(200);
  expect((await fhir('Patient?family=Stale')).body.total).toBe(0);
  expect((await fhir('Patient?family=Fresh')).body.total).toBe(1);

  const strict = await fhir('Patient?nonsense=1', { headers: { prefer: 'handling=strict' } });
  expect(strict.status).toBe(400);
  expect(strict.body.resourceType).toBe('OperationOutcome');
});
