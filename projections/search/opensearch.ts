/**
 * The documents of search in OpenSearch. One index for each build, written and asked through an alias of its own (`<prefix>-b<build>`), so that
 * nothing is ever written into an index that came into being by itself; a further alias (`<prefix>`) leads to the build that serves.
 *
 * A document is named by what it says (source record, thing, text), and holds it whole; its external version counts down from 2^62 by the
 * position, so that the first position at which a text was said stays, whatever order writes come or come again in.
 */
import type pg from 'pg';
import type { Position } from '../../src/log/event-log.js';
import type { OpenSearchConnection } from '../../src/opensearch/connection.js';
import { OpenSearchError } from '../../src/opensearch/error.js';
import { StoreLostError, StoreUnavailableError } from '../../src/projecting/errors.js';
import {
  EventRejected,
  type Build,
  type DecodedEvent,
  type OutsideStore,
  type ProjectionVerification,
} from '../../src/projecting/projection.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { nameKeys } from './document.js';
import { searchRows, type SearchRow } from './rows.js';
import { verifyOpenSearch } from './verify-opensearch.js';

const FIRST_VERSION = 2n ** 62n;
/** Of one request. OpenSearch refuses more than 100 MB; many small requests are as fast. Characters. */
const BULK_CHARACTERS = 2 * 1024 * 1024;
/** Texts known to be there are not sent again: most messages repeat what was said before. */
const REMEMBERED_MOST = 100_000;
/** Statuses of a document that can never be taken; every other one passes (429 and 503 overload, 403 a full disk or a missing right). */
const NEVER_TAKEN = new Set([400, 413]);
const THERE_ALREADY = 409;

/** Alias of a build. */
export function buildAlias(prefix: string, build: Build): string {
  return `${prefix}-b${build}`;
}

function indexName(prefix: string, build: Build): string {
  return `${buildAlias(prefix, build)}-000001`;
}

const NOT_LOGGED = { warn: '-1', info: '-1', debug: '-1', trace: '-1' };

function templateFor(prefix: string): unknown {
  const list = { type: 'keyword', doc_values: false, norms: false };
  return {
    index_patterns: [`${prefix}-b*`],
    priority: 500,
    template: {
      settings: {
        number_of_shards: 1,
        // One where there is a second node, none where there is not.
        auto_expand_replicas: '0-1',
        // The longest that something stays unseen while nobody asks; who asks for something newer refreshes (opensearch-engine.ts).
        refresh_interval: '1s',
        // Its logs are nobody's to read patients in: what is slow is not written down, with its words, whatever a site's other indices do.
        search: { slowlog: { threshold: { query: NOT_LOGGED, fetch: NOT_LOGGED } } },
        indexing: { slowlog: { threshold: { index: NOT_LOGGED }, source: 'false' } },
      },
      mappings: {
        dynamic: false,
        // What is shown comes from the store, as it stands at a basis; the documents are made again from the log.
        _source: { enabled: false },
        properties: {
          record: { type: 'keyword' },
          kind: { type: 'byte' },
          entity: { type: 'long', index: false },
          text: { type: 'long', index: false },
          pos: { type: 'long' },
          words: list,
          keys: list,
          terms: list,
          amount: { type: 'double' },
          day: { type: 'keyword' },
        },
      },
    },
  };
}

export interface OpenSearchDocumentsOptions {
  readonly connection: OpenSearchConnection;
  readonly hashes: Pick<KeyedHashes, 'thing'>;
  /** Says whether a build was filled before. */
  readonly pool: Pick<pg.Pool, 'query'>;
  /** Of the log the documents are made from: indices of another hub are never touched. */
  readonly logId: string;
}

interface BulkAnswer {
  readonly errors: boolean;
  readonly items: readonly {
    readonly index: { readonly status: number; readonly error?: { readonly type?: string } };
  }[];
}

type IndexMeta = Readonly<
  Record<string, { readonly mappings: { readonly _meta?: { readonly log?: string; readonly build?: number } } }>
>;

export class OpenSearchDocuments implements OutsideStore {
  private readonly prepared = new Set<Build>();
  private readonly remembered = new Set<string>();
  /** What {@link keep} was told last and could not carry out yet. */
  private pending: (() => Promise<void>) | undefined;
  readonly verify: ProjectionVerification;

  constructor(private readonly options: OpenSearchDocumentsOptions) {
    this.verify = verifyOpenSearch(options.connection, options.hashes);
  }

  /**
   * @throws EventRejected for a document that OpenSearch can never take; StoreUnavailableError for everything that passes (no answer, overload,
   *   a full disk, a missing right); StoreLostError where the index is gone
   */
  async write(events: readonly DecodedEvent[], build: Build): Promise<void> {
    try {
      await this.prepare(build);
      let batch: SearchRow[] = [];
      let lines: string[] = [];
      let characters = 0;
      for (const row of searchRows(events, this.options.hashes)) {
        if (this.remembered.has(rememberedAs(row, build))) continue;
        const line = lineOf(row);
        batch.push(row);
        lines.push(actionOf(row), line);
        characters += line.length;
        if (characters < BULK_CHARACTERS) continue;
        await this.bulk(build, batch, lines);
        batch = [];
        lines = [];
        characters = 0;
      }
      if (batch.length > 0) await this.bulk(build, batch, lines);
      await this.pending?.();
    } catch (error) {
      if (error instanceof OpenSearchError) throw new StoreUnavailableError('OpenSearch', error.word);
      throw error;
    }
  }

  async keep(builds: readonly Build[], serving: Build | undefined): Promise<void> {
    this.pending = () => this.carryOut(builds, serving);
    try {
      await this.pending();
    } catch (error) {
      // The next write makes up for it; until then readers ask by the builds' own aliases, and nothing is lost but room.
      if (!(error instanceof OpenSearchError)) throw error;
    }
  }

  async erase(records: readonly string[], build: Build): Promise<void> {
    const { connection } = this.options;
    const alias = buildAlias(connection.prefix, build);
    try {
      for (;;) {
        // What is not visible yet would not be found; what was deleted is not found again.
        await connection.request({ method: 'POST', path: `/${alias}/_refresh` }, [404]);
        const found = await connection.request<ErasedAnswer>(
          {
            method: 'POST',
            path: `/${alias}/_search`,
            body: { size: SCAN_DOCUMENTS, _source: false, query: { terms: { record: records } } },
          },
          [404],
        );
        const ids = found?.hits.hits.map(({ _id }) => _id) ?? [];
        if (ids.length === 0) break;
        const answer = await connection.request<{ readonly errors: boolean }>({
          method: 'POST',
          path: `/${alias}/_bulk`,
          query: { require_alias: 'true' },
          lines: ids.map((id) => JSON.stringify({ delete: { _id: id } })),
        });
        if (answer?.errors !== false) throw new OpenSearchError('documents could not be deleted');
      }
      // Deleted documents are only marked: their words leave the disk when the segments that hold them are written anew.
      await connection.request(
        { method: 'POST', path: `/${alias}/_forcemerge`, query: { only_expunge_deletes: 'true' } },
        [404],
      );
    } catch (error) {
      if (error instanceof OpenSearchError) throw new StoreUnavailableError('OpenSearch', error.word);
      throw error;
    }
  }

  /** Makes the index of a build that has none yet. @throws StoreLostError where it had one */
  private async prepare(build: Build): Promise<void> {
    if (this.prepared.has(build)) return;
    const { connection, logId } = this.options;
    const { prefix } = connection;
    const alias = buildAlias(prefix, build);
    const found = await connection.request<IndexMeta>({ method: 'GET', path: `/${alias}` }, [404]);
    if (found === undefined) {
      if (await this.wasFilled(build)) throw new StoreLostError('search', build, 'OpenSearch');
      await connection.request({ method: 'PUT', path: `/_index_template/${prefix}`, body: templateFor(prefix) });
      await connection.request({
        method: 'PUT',
        path: `/${indexName(prefix, build)}`,
        body: { mappings: { _meta: { log: logId, build } }, aliases: { [alias]: { is_write_index: true } } },
      });
    } else if (Object.values(found)[0]?.mappings._meta?.log !== logId) {
      throw new StoreLostError('search', build, 'OpenSearch: what stands there in its name belongs to another hub');
    }
    this.prepared.add(build);
  }

  private async wasFilled(build: Build): Promise<boolean> {
    const { rows } = await this.options.pool.query<{ filled: boolean }>(
      "select coalesce(max(position), 0) > 0 as filled from hub.checkpoint where projection = 'search' and version = $1",
      [build],
    );
    return rows[0]?.filled === true;
  }

  private async bulk(build: Build, rows: readonly SearchRow[], lines: readonly string[]): Promise<void> {
    const { connection } = this.options;
    const answer = await connection.request<BulkAnswer>({
      method: 'POST',
      path: `/${buildAlias(connection.prefix, build)}/_bulk`,
      // Never into an index that this write itself would make.
      query: { require_alias: 'true' },
      lines,
    });
    const items = answer?.items ?? [];
    if (items.length !== rows.length) throw new OpenSearchError('an answer that does not fit its request');
    let passing: OpenSearchError | undefined;
    rows.forEach((row, index) => {
      const { status, error } = (items[index] as BulkAnswer['items'][number]).index;
      if (status < 300 || status === THERE_ALREADY) {
        this.remember(row, build);
        return;
      }
      if (error?.type === 'index_not_found_exception') {
        this.prepared.delete(build);
        throw new StoreLostError('search', build, 'OpenSearch');
      }
      if (NEVER_TAKEN.has(status)) throw new EventRejected(row.eventId, 'NOT_SEARCHABLE');
      passing ??= new OpenSearchError(`HTTP ${status} ${error?.type ?? ''}`.trim(), status);
    });
    if (passing !== undefined) throw passing;
  }

  private remember(row: SearchRow, build: Build): void {
    if (this.remembered.size >= REMEMBERED_MOST) this.remembered.clear();
    this.remembered.add(rememberedAs(row, build));
  }

  /** Leads the alias to the build that serves, in one step, and removes the indices of builds that are gone. */
  private async carryOut(builds: readonly Build[], serving: Build | undefined): Promise<void> {
    const { connection, logId } = this.options;
    const { prefix } = connection;
    const indices = await connection.request<IndexMeta>(
      { method: 'GET', path: `/${prefix}-b*`, query: { ignore_unavailable: 'true' } },
      [404],
    );
    const own = Object.entries(indices ?? {}).filter(([, { mappings }]) => mappings._meta?.log === logId);
    const buildOf = (mappings: IndexMeta[string]['mappings']): Build => mappings._meta?.build ?? 0;
    const served = own.find(([, { mappings }]) => buildOf(mappings) === serving)?.[0];
    if (served !== undefined) {
      await connection.request({
        method: 'POST',
        path: '/_aliases',
        body: {
          actions: [
            { remove: { index: `${prefix}-b*`, alias: prefix, must_exist: false } },
            { add: { index: served, alias: prefix } },
          ],
        },
      });
    }
    for (const [index, { mappings }] of own) {
      if (builds.includes(buildOf(mappings))) continue;
      await connection.request({ method: 'DELETE', path: `/${index}` }, [404]);
      this.prepared.delete(buildOf(mappings));
    }
    // The index of a build that has got nothing yet is made with its first documents.
    if (served !== undefined || serving === undefined) this.pending = undefined;
  }
}

/** Name of a document: what is said of which thing. */
function idOf({ record, kind, entity, textHash }: SearchRow): string {
  const bytes = Buffer.allocUnsafe(33);
  bytes.write(record.replaceAll('-', ''), 0, 16, 'hex');
  bytes.writeUInt8(kind, 16);
  bytes.writeBigInt64BE(entity, 17);
  bytes.writeBigInt64BE(textHash, 25);
  return bytes.toString('base64url');
}

function rememberedAs(row: SearchRow, build: Build): string {
  return `${build}|${idOf(row)}`;
}

function actionOf(row: SearchRow): string {
  // Written by hand: JSON.stringify knows no 64-bit integers.
  return `{"index":{"_id":"${idOf(row)}","version":${FIRST_VERSION - row.position},"version_type":"external"}}`;
}

function lineOf({ record, kind, entity, textHash, position, document }: SearchRow): string {
  const { words, terms, amount, day } = document;
  const rest = JSON.stringify({ record, kind, words, keys: nameKeys(document), terms, amount, day });
  return `${rest.slice(0, -1)},"entity":${entity},"text":${textHash},"pos":${position}}`;
}

/** Documents of a build in OpenSearch, all of them: for checks. */
export interface StoredDocument {
  readonly record: string;
  readonly kind: number;
  readonly entity: bigint;
  readonly textHash: bigint;
  readonly position: Position;
}

const SCAN_DOCUMENTS = 5_000;

interface ErasedAnswer {
  readonly hits: { readonly hits: readonly { readonly _id: string }[] };
}

interface ScanAnswer {
  readonly hits: {
    readonly hits: readonly {
      readonly fields: Readonly<Record<string, readonly [string]>>;
      readonly sort: readonly [string];
    }[];
  };
}

/** @throws OpenSearchError */
export async function* scanDocuments(connection: OpenSearchConnection, build: Build): AsyncGenerator<StoredDocument[]> {
  const alias = buildAlias(connection.prefix, build);
  await connection.request({ method: 'POST', path: `/${alias}/_refresh` });
  const fields = ['record', 'kind', 'entity', 'text', 'pos'].map((field) =>
    // As text: numbers of 64 bits do not survive JSON otherwise.
    field === 'record' ? { field } : { field, format: '#' },
  );
  let after: readonly [string] | undefined;
  for (;;) {
    const answer = await connection.request<ScanAnswer>({
      method: 'POST',
      path: `/${alias}/_search`,
      body: {
        size: SCAN_DOCUMENTS,
        _source: false,
        docvalue_fields: fields,
        sort: [{ _id: 'asc' }],
        ...(after === undefined ? {} : { search_after: after }),
      },
    });
    const hits = answer?.hits.hits ?? [];
    if (hits.length === 0) return;
    yield hits.map(({ fields: found }) => ({
      record: valueOf(found, 'record'),
      kind: Number(valueOf(found, 'kind')),
      entity: BigInt(valueOf(found, 'entity')),
      textHash: BigInt(valueOf(found, 'text')),
      position: BigInt(valueOf(found, 'pos')),
    }));
    after = hits.at(-1)?.sort;
  }
}

function valueOf(fields: Readonly<Record<string, readonly [string]>>, name: string): string {
  return fields[name]?.[0] ?? '';
}
