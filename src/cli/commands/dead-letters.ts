import { readFile } from 'node:fs/promises';
import { Option, type Command } from 'commander';
import { CliError, EXIT } from '../cli-error.js';
import { findHub, type HubClient } from '../hub-client.js';
import { wholeNumber, withHub, type HubOptions } from '../options.js';
import { table } from '../output.js';

const FIELDS =
  'id code path byteOffset status attempts version waiting message { type source { id } recordedAt position }';
const PAGE = 500;

interface Letter {
  readonly id: string;
  readonly code: string;
  readonly path: string | null;
  readonly byteOffset: number | null;
  readonly status: string;
  readonly attempts: number;
  readonly version: number;
  readonly waiting: number;
  readonly message: { type: string; source: { id: string }; recordedAt: string; position: string };
}

interface ShownLetter extends Letter {
  readonly message: Letter['message'] & {
    contentType: string;
    controlId: string | null;
    body: { text: string | null; base64: string; length: number } | null;
  };
}

interface ChangeOptions extends HubOptions {
  readonly expectedVersion?: number;
  readonly idempotencyKey?: string;
}

export function deadLettersCommand(program: Command): void {
  const letters = program
    .command('dead-letters')
    .description('messages that could not be applied: look at them, correct, replay or discard them');

  withHub(letters.command('list'))
    .description('every letter, in the order of the messages')
    .addOption(
      new Option('--status <status>', 'those that stand so').choices(['PARKED', 'CORRECTED', 'REPLAYED', 'DISCARDED']),
    )
    .option('--code <code>', 'those parked for this reason')
    .option('--source <id>', 'those of this source')
    .option('--patient <id>', 'those about this patient')
    .action(async (options: HubOptions & Filter) => {
      await list(await findHub(options), options);
    });

  withHub(letters.command('show <id>'))
    .description('one letter with the message as it was sent')
    .action(async (id: string, options: HubOptions) => {
      const letter = await show(await findHub(options), id);
      console.log(options.json === true ? JSON.stringify(letter) : describeOne(letter));
    });

  changing(letters.command('correct <id>'))
    .description('put another body in the place of the message; the original stays as it was sent')
    .requiredOption('--file <file>', 'the corrected message, byte for byte')
    .action(async (id: string, options: ChangeOptions & { file: string }) => {
      const body = (await readBody(options.file)).toString('base64');
      const { changed } = await (
        await findHub(options)
      ).data<{ changed: Letter }>(
        'clinical',
        `mutation ($id: ID!, $body: String!, $key: String, $version: Int) {
           changed: correctDeadLetter(id: $id, body: $body, base64: true, idempotencyKey: $key, expectedVersion: $version) { ${FIELDS} } }`,
        { id, body, ...changeOf(options) },
      );
      print([changed], options);
    });

  changing(letters.command('replay [id]'))
    .description('offer it to the projections again, and after it what waited behind it')
    .option('--all', 'every letter that is parked or corrected, in order')
    .action(async (id: string | undefined, options: ChangeOptions & { all?: boolean }) => {
      if ((id === undefined) === (options.all !== true)) {
        throw new CliError('expected either the id of a letter or --all', EXIT.usage);
      }
      const { changed } = await (
        await findHub(options)
      ).data<{ changed: Letter[] }>(
        'clinical',
        `mutation ($ids: [ID!], $all: Boolean, $key: String, $version: Int) {
           changed: replayDeadLetters(ids: $ids, all: $all, idempotencyKey: $key, expectedVersion: $version) { ${FIELDS} } }`,
        { ids: id === undefined ? null : [id], all: options.all === true, ...changeOf(options) },
        REPLAY_TIMEOUT_MS,
      );
      print(changed, options);
      if (changed.some(({ status }) => status === 'PARKED')) {
        throw new CliError('what is PARKED again could still not be applied: correct it');
      }
    });

  changing(letters.command('discard <id>'))
    .description('give it up; what waited behind it is applied')
    .requiredOption('--reason <text>', 'why, kept sealed beside the decision')
    .action(async (id: string, options: ChangeOptions & { reason: string }) => {
      const { changed } = await (
        await findHub(options)
      ).data<{ changed: Letter }>(
        'clinical',
        `mutation ($id: ID!, $reason: String!, $key: String, $version: Int) {
           changed: discardDeadLetter(id: $id, reason: $reason, idempotencyKey: $key, expectedVersion: $version) { ${FIELDS} } }`,
        { id, reason: options.reason, ...changeOf(options) },
      );
      print([changed], options);
    });
}

/** Thousands of letters are read anew one by one. */
const REPLAY_TIMEOUT_MS = 600_000;

interface Filter {
  readonly status?: string;
  readonly code?: string;
  readonly source?: string;
  readonly patient?: string;
}

function changing(command: Command): Command {
  return withHub(command)
    .addOption(
      new Option('--expected-version <n>', 'only if nobody has changed the letter since').argParser(
        wholeNumber('--expected-version', 1),
      ),
    )
    .option('--idempotency-key <key>', 'the same key again does nothing and answers the same');
}

function changeOf({ expectedVersion, idempotencyKey }: ChangeOptions): { key: string | null; version: number | null } {
  return { key: idempotencyKey ?? null, version: expectedVersion ?? null };
}

/** Page by page, so that any number can be listed. */
async function list(hub: HubClient, options: HubOptions & Filter): Promise<void> {
  const { status, code, source, patient } = options;
  const filter = { status, code, source, patient };
  let first = true;
  for (let after: string | null = null; ;) {
    const { deadLetters }: Page = await hub.data<Page>(
      'clinical',
      `query ($filter: DeadLetterFilter, $first: Int, $after: String) {
         deadLetters(filter: $filter, first: $first, after: $after) { nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`,
      { filter, first: PAGE, after },
    );
    if (options.json === true) for (const letter of deadLetters.nodes) console.log(JSON.stringify(letter));
    else if (first || deadLetters.nodes.length > 0) console.log(describe(deadLetters.nodes));
    first = false;
    after = deadLetters.pageInfo.endCursor;
    if (!deadLetters.pageInfo.hasNextPage) return;
  }
}

interface Page {
  readonly deadLetters: {
    readonly nodes: readonly Letter[];
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
  };
}

async function show(hub: HubClient, id: string): Promise<ShownLetter> {
  const { deadLetters } = await hub.data<{ deadLetters: { nodes: ShownLetter[] } }>(
    'clinical',
    `query ($ids: [ID!]) { deadLetters(filter: { ids: $ids }, first: 1) { nodes { ${FIELDS}
       message { contentType controlId body { text base64 length } } } } }`,
    { ids: [id] },
  );
  const [letter] = deadLetters.nodes;
  if (letter === undefined) throw new CliError('no dead letter has this id');
  return letter;
}

async function readBody(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new CliError(`${file}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}`, EXIT.usage, {
      cause: error,
    });
  }
}

function print(letters: readonly Letter[], options: HubOptions): void {
  console.log(options.json === true ? JSON.stringify(letters) : describe(letters));
}

function describe(letters: readonly Letter[]): string {
  return table(
    ['id', 'status', 'code', 'path', 'byte', 'waiting', 'attempts', 'version', 'type', 'source', 'recorded'],
    letters.map(({ id, status, code, path, byteOffset, waiting, attempts, version, message }) => [
      id,
      status,
      code,
      path,
      byteOffset,
      waiting,
      attempts,
      version,
      message.type,
      message.source.id,
      message.recordedAt,
    ]),
  );
}

/** Segments of HL7 v2 end in a CR, at which a terminal would write each over the one before. */
const LINE_END = /\r\n?/g;

function describeOne(letter: ShownLetter): string {
  const { message } = letter;
  const place = [letter.path, letter.byteOffset === null ? null : `byte ${letter.byteOffset}`]
    .filter(Boolean)
    .join(', ');
  return [
    `id         ${letter.id}`,
    `status     ${letter.status}, ${letter.attempts} attempt(s), version ${letter.version}, ${letter.waiting} waiting behind it`,
    `reason     ${letter.code}${place === '' ? '' : ` at ${place}`}`,
    `message    ${message.type === '' ? '' : `${message.type} `}(${message.contentType}) of ${message.source.id}, position ${message.position}, ${message.recordedAt}`,
    '',
    message.body === null
      ? 'its body was erased, or cannot be opened'
      : (message.body.text?.replaceAll(LINE_END, '\n') ??
        `${message.body.length} bytes that are no text: --json has them`),
  ].join('\n');
}
