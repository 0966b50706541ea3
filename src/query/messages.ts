/** Messages: opened from the log when somebody asks for what only the body knows. */
import DataLoader from 'dataloader';
import type { EventLogReader, Position } from '../log/event-log.js';
import { charsetNamed } from '../inbound/hl7/charset.js';
import { contentTree } from './view/tree.js';
import type { DecodedEvent } from '../projecting/projection.js';
import type { RecordedEvent } from '../log/event-log.js';
import type { Json } from '../mapping/fact.js';

/** Opens and parses events; with `rules`, the mapping says which rule wrote what. */
export interface Decoder {
  decode(events: readonly RecordedEvent[]): Promise<DecodedEvent[]>;
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

/** Opened events of one request, by position. */
export function eventLoader(reader: EventLogReader, decoder: Decoder): DataLoader<string, DecodedEvent | undefined> {
  return new DataLoader(async (positions) => {
    const events = await readEvents(reader, positions.map(BigInt));
    const decoded = new Map<string, DecodedEvent>();
    for (const event of await decoder.decode([...events.values()])) decoded.set(event.position.toString(), event);
    return positions.map((position) => decoded.get(position));
  });
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
