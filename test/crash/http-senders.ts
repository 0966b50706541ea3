/** Senders over HTTP and of files, for a hub that is killed: each sends again what it has no receipt for, byte for byte, until it has one. */
import { mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ingestFiles } from '../../src/inbound/files/ingest-files.js';
import { graphql } from '../support/hub-process.js';

/** One message, and the result that it should leave on the patient's chart. */
export interface CrashMessage {
  readonly bytes: Buffer;
  readonly patient: number;
  readonly order: string;
}

export interface SenderContext {
  readonly seed: number;
  /** Number of the sender among all. */
  readonly sender: number;
  readonly patients: number;
  readonly http: () => string;
  readonly finishing: () => boolean;
  /** Awaited before each message, or batch of them. */
  readonly pace: () => Promise<void>;
  /** The run has failed: nothing is sent any more. */
  readonly abandoned: () => boolean;
  readonly sending: (message: CrashMessage) => void;
  readonly acknowledged: (message: CrashMessage) => void;
}

const TIMEOUT_MS = 5_000;
const RETRY_MS = 30;
const BATCH = 12;

type Make = (patient: number, order: string) => Buffer;

const personOf = (patient: number, seed: number): { value: string; family: string; birthDate: string } => ({
  value: `P${seed}-${patient}`,
  family: `Kill${patient}`,
  birthDate: `1970-0${1 + (patient % 9)}-1${patient % 10}`,
});

const eventOf =
  (seed: number): Make =>
  (patient, order) => {
    const { value, family, birthDate } = personOf(patient, seed);
    return Buffer.from(
      JSON.stringify({
        eventId: order,
        type: 'observation.recorded',
        ts: '2026-03-01T10:00:00Z',
        patient: {
          identifiers: [{ authority: 'CRASH', value, type: 'MR' }],
          name: { family, given: ['Test'] },
          birthDate,
          sex: 'female',
        },
        data: { id: order, code: 'K', display: 'Potassium', value: 4.1, unit: 'mmol/L' },
      }),
    );
  };

const bundleOf =
  (seed: number): Make =>
  (patient, order) => {
    const { value, family, birthDate } = personOf(patient, seed);
    const type = { coding: [{ code: 'MR' }] };
    const entry = [
      {
        fullUrl: 'urn:uuid:6f1c2b52-7d0e-4a6c-9d05-0a4a4a5c1a01',
        resource: {
          resourceType: 'Patient',
          identifier: [{ system: 'CRASH', value, type }],
          name: [{ family, given: ['Test'] }],
          birthDate,
          gender: 'female',
        },
      },
      {
        resource: {
          resourceType: 'Observation',
          id: order,
          status: 'final',
          code: { text: 'Potassium' },
          subject: { reference: 'urn:uuid:6f1c2b52-7d0e-4a6c-9d05-0a4a4a5c1a01' },
          effectiveDateTime: '2026-03-01T10:00:00Z',
          valueQuantity: { value: 4.1 },
        },
      },
    ];
    return Buffer.from(JSON.stringify({ resourceType: 'Bundle', type: 'collection', entry }));
  };

/** Events one by one. */
export function eventSender(context: SenderContext): Promise<void> {
  return oneByOne(context, eventOf(context.seed), '/events', 'application/json');
}

/** FHIR bundles one by one. */
export function fhirSender(context: SenderContext): Promise<void> {
  return oneByOne(context, bundleOf(context.seed), '/fhir', 'application/fhir+json');
}

async function oneByOne(context: SenderContext, make: Make, where: string, contentType: string): Promise<void> {
  for (let count = 0; !context.finishing(); count += 1) {
    await context.pace();
    const message = next(context, make, count);
    await again(context, async () => {
      const response = await fetch(context.http() + where, {
        method: 'POST',
        headers: { 'content-type': contentType },
        body: new Uint8Array(message.bytes),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      await response.arrayBuffer();
      return response.ok;
    });
    context.acknowledged(message);
  }
}

/** Events in batches: a line counts once its receipt was read, also where the answer breaks off behind it; what has none goes again. */
export async function batchSender(context: SenderContext): Promise<void> {
  for (let round = 0; !context.finishing(); round += 1) {
    await context.pace();
    let open = Array.from({ length: BATCH }, (_, n) => next(context, eventOf(context.seed), round * BATCH + n));
    await again(context, async () => {
      const sent = open;
      const answered = new Set<number>();
      const response = await fetch(`${context.http()}/events/batch`, {
        method: 'POST',
        body: new Uint8Array(Buffer.concat(sent.flatMap(({ bytes }) => [bytes, Buffer.from('\n')]))),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      let text = '';
      try {
        if (response.ok && response.body !== null)
          for await (const chunk of response.body) text += Buffer.from(chunk as Uint8Array).toString();
      } finally {
        // The last piece is a whole receipt only with its line end.
        for (const line of text.split('\n').slice(0, -1)) {
          const receipt = JSON.parse(line) as { line: number; status: string };
          if (receipt.status === 'accepted' || receipt.status === 'duplicate') answered.add(receipt.line - 1);
        }
        for (const index of answered) context.acknowledged(sent[index] as CrashMessage);
        open = sent.filter((_, index) => !answered.has(index));
      }
      return open.length === 0;
    });
  }
}

/** Files, as `anamnesis ingest` sends them: the whole file again until all of it is in. */
export function fileSender(context: SenderContext): Promise<void> {
  return inFiles(context, async (folder, name, content) => {
    const file = path.join(folder, name);
    await writeFile(file, content);
    await again(context, async () => {
      const { refused } = await ingestFiles({ paths: [file], url: context.http(), patienceMs: 200 });
      return refused === 0;
    });
  });
}

/** Files put into a folder that the hub watches: what was moved to the done ones is acknowledged. Nobody sends anything again but the hub itself. */
export function folderSender(context: SenderContext): Promise<void> {
  return inFiles(context, async (folder, name, content) => {
    await again(context, async () => {
      const settings = {
        kind: 'file',
        folder: { path: folder, pattern: '*', doneFolder: 'done', errorFolder: 'errors' },
      };
      const id = `crash-folder-${context.sender}`;
      const mutation = 'mutation ($id: ID!, $settings: JSON!) { setSource(id: $id, settings: $settings) { id } }';
      await graphql(context.http(), mutation, { id, settings });
      return true;
    });
    await writeFile(path.join(folder, `${name}.part`), content);
    await rename(path.join(folder, `${name}.part`), path.join(folder, name));
    let refused = false;
    await again(context, async () => {
      // The hub makes a folder when it first puts something there.
      const moved = async (into: string): Promise<boolean> =>
        (await readdir(path.join(folder, into)).catch((): string[] => [])).includes(name);
      refused = await moved('errors');
      return refused || (await moved('done'));
    });
    if (refused) throw new Error(`the hub refused a file of good messages: ${name}`);
  });
}

async function inFiles(
  context: SenderContext,
  send: (folder: string, name: string, content: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-crash-files-'));
  try {
    for (let round = 0; !context.finishing(); round += 1) {
      await context.pace();
      const messages = Array.from({ length: BATCH }, (_, n) => {
        const make = n % 3 === 0 ? bundleOf(context.seed) : eventOf(context.seed);
        return next(context, make, round * BATCH + n);
      });
      await send(folder, `${round}.ndjson`, messages.map(({ bytes }) => `${bytes.toString()}\n`).join(''));
      for (const message of messages) context.acknowledged(message);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function next({ seed, sender, patients, sending }: SenderContext, make: Make, count: number): CrashMessage {
  const patient = (sender * 7 + count) % patients;
  const order = `H${seed}-${sender}-${count}`;
  const message = { bytes: make(patient, order), patient, order };
  sending(message);
  return message;
}

/** Until it is done; no answer is no receipt. */
async function again({ abandoned }: Pick<SenderContext, 'abandoned'>, send: () => Promise<boolean>): Promise<void> {
  while (!abandoned()) {
    try {
      if (await send()) return;
    } catch {
      // A real sender sends the same bytes again.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
