/** Messages: opened from the log when somebody asks for what only the body knows. */
import DataLoader from 'dataloader';
import { blobNamedIn } from '../blobs/keeper.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import { charsetNamed } from '../inbound/hl7/charset.js';
import { mappedOnly } from '../projecting/decode.js';
import { GraphError } from './errors.js';
import { contentTree } from './view/tree.js';
import type { DecodedEvent } from '../projecting/projection.js';
import type { RecordedEvent } from '../log/event-log.js';
import type { Json } from '../mapping/fact.js';

/** Opens and parses events; with `rules`, the mapping says which rule wrote what. */
export interface Decoder {
  decode(events: readonly RecordedEvent[], keep?: (event: DecodedEvent) => DecodedEvent): Promise<DecodedEvent[]>;
}

/** Reads this many positions in one page rather than two pages. */
const GAP_POSITIONS = 64n;

/** Reads events by position: neighbours in one page. */
export async function readEvents(
  reader: EventLogReader,
  positions: readonly Position[],
): Promise<Map<Position, RecordedEvent>> {
  const sorted = [...new Set(positions)].sort((left, right) => (left < right ? -1 : 1));
  const found = new Map<Position, RecordedEvent>();
  let start = 0;
  for (let index = 1; index <= sorted.length; index += 1) {
    const [first, last] = [sorted[start] as Position, sorted[index - 1] as Position];
    const next = sorted[index];
    if (next !== undefined && next - last <= GAP_POSITIONS && next - first < 1000n) continue;
    const page = await reader.readPage({ after: first - 1n, limit: Number(last - first) + 1 });
    for (const event of page) found.set(event.position, event);
    start = index;
  }
  return found;
}

/** Bodies that one request may hold together, sealed, in bytes; a single one may be larger. */
const BODIES_BYTES = 64 * 1024 * 1024;

/** The events of one request: read in pages, opened once. */
export class RequestEvents {
  private readonly stored: DataLoader<string, RecordedEvent | undefined>;
  private readonly opened: DataLoader<string, DecodedEvent | undefined>;
  private readonly whole = new Map<Position, Promise<DecodedEvent | undefined>>();
  private loading: Promise<unknown> = Promise.resolve();
  private bytes = 0;

  constructor(
    reader: EventLogReader,
    private readonly decoder: Decoder,
  ) {
    this.stored = new DataLoader(async (positions) => {
      const events = await readEvents(reader, positions.map(BigInt));
      return positions.map((position) => events.get(BigInt(position)));
    });
    this.opened = new DataLoader(async (positions) => {
      const events = (await this.stored.loadMany(positions)).map(orThrow);
      const decoded = await decoder.decode(
        events.filter((event) => event !== undefined),
        mappedOnly,
      );
      const found = new Map(decoded.map((event) => [event.position.toString(), event]));
      return positions.map((position) => found.get(position));
    });
  }

  /** What it says and what was made of it, without its bytes. */
  event(position: Position): Promise<DecodedEvent | undefined> {
    return this.opened.load(position.toString());
  }

  /**
   * With its bytes. Loaded one after another, and no more than an answer can hold.
   * @throws GraphError QUERY_TOO_COMPLEX
   */
  withContent(position: Position): Promise<DecodedEvent | undefined> {
    let found = this.whole.get(position);
    if (found === undefined) {
      found = this.loading.then(() => this.load(position));
      this.loading = found.catch(() => undefined);
      this.whole.set(position, found);
    }
    return found;
  }

  private async load(position: Position): Promise<DecodedEvent | undefined> {
    const event = await this.stored.load(position.toString());
    if (event === undefined) return undefined;
    const bytes = blobNamedIn(event.metadata)?.length ?? event.data.length;
    if (this.bytes > 0 && this.bytes + bytes > BODIES_BYTES) {
      throw new GraphError('QUERY_TOO_COMPLEX', 'these bodies are too large for one answer: ask for fewer of them');
    }
    this.bytes += bytes;
    const [decoded] = await this.decoder.decode([event]);
    return decoded;
  }
}

function orThrow<T>(value: T | Error): T {
  if (value instanceof Error) throw value;
  return value;
}

/** Why a message shows no bytes; null where it does, or where they are not there yet. */
export function bodyProblemOf(event: DecodedEvent | undefined): string | null {
  if (event === undefined) return null;
  if (event.body.state === 'erased') return 'ERASED';
  return event.body.state === 'unreadable' ? event.body.code : null;
}

export interface BodyView {
  readonly text: string | null;
  readonly base64: string;
  readonly length: number;
  readonly tree: Json;
}

/** The bytes of a message, as received; null where they were erased or cannot be read. */
export function bodyOf(event: DecodedEvent | undefined): BodyView | null {
  if (event === undefined || event.body.state !== 'open') return null;
  const { content, header } = event.body;
  return {
    text: textOf(content, header.charset),
    base64: content.toString('base64'),
    length: content.length,
    tree: event.content === undefined ? null : contentTree(event.content, content),
  };
}

function textOf(content: Buffer, charset: string | undefined): string | null {
  const text = charsetNamed(charset ?? 'UTF-8')
    ?.decode(content)
    .replace(/^\uFEFF/, '');
  if (text === undefined) return null;
  // Bytes that are no text in the character set stay bytes.
  return text.includes('\0') && content.includes(0) ? null : text;
}

/**
 * The rule that wrote a path: of the path itself, else of the nearest one above it (`name[0].family` → `name.family` → `name`).
 */
export function ruleOf(
  event: DecodedEvent | undefined,
  kind: string,
  key: string,
  field: string,
  path: string,
): string | null {
  const rules = event?.mapped.rules;
  if (rules === undefined) return null;
  const bare = path.replace(/\[\d+\]/g, '');
  for (let candidate = bare; ;) {
    const rule = rules.get(`${kind}|${key}|${candidate}`);
    if (rule !== undefined) return rule;
    const dot = candidate.lastIndexOf('.');
    if (dot < 0) break;
    candidate = candidate.slice(0, dot);
  }
  return rules.get(`${kind}|${key}|${field}`) ?? null;
}
