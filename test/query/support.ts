/** A hub without transports for tests of the graph: real log, sealed bodies, real mapping, master projection, GraphQL over HTTP. */
import { LOOPBACK_PRINCIPAL, type Principal } from '../../src/auth/principal.js';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { createHash, randomUUID } from 'node:crypto';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import type pg from 'pg';
import { Forgetting } from '../../projections/master/forgetting.js';
import { createMasterProjection } from '../../projections/master/index.js';
import { censusTables } from '../../projections/master/census/tables.js';
import { masterTables } from '../../projections/master/tables.js';
import { createSearchProjection, type SearchProjectionOptions } from '../../projections/search/index.js';
import { openClient } from '../../src/database/database.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { configuredSources } from '../../src/inbound/sources.js';
import { clinicalStream, partitionOf, type RecordLink, type UnstampedEnvelope } from '../../src/log/envelope.js';
import type { EventLogReader, EventLogWriter } from '../../src/log/event-log.js';
import { openPostgresLogReader, openPostgresLogWriter, POSTGRES_LOG_HEAD } from '../../src/log/postgres/index.js';
import { LogWriter } from '../../src/log/writer.js';
import { WriterUnavailableError } from '../../src/log/writer-mailbox.js';
import { mapMessage } from '../../src/mapping/map.js';
import { BatchWriter } from '../../src/projecting/batch-writer.js';
import { installBuild } from '../../src/projecting/builds.js';
import { ProjectionDesk } from '../../src/projecting/commands.js';
import { EventDecoder } from '../../src/projecting/decode.js';
import { Parkings } from '../../src/projecting/parkings.js';
import type { SealedHeader } from '../../src/projecting/projection.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { BasisResolver } from '../../src/query/basis/basis.js';
import { fhirRoutes } from '../../src/query/fhir/routes.js';
import { ListedDocuments } from '../../src/query/graph/documents.js';
import { GraphModule } from '../../src/query/graph/graph.module.js';
import { MutationMemory } from '../../src/query/graph/mutations/once.js';
import { OperationsView } from '../../src/query/operations-view.js';
import { SearchDesk } from '../../src/query/search/desk.js';
import type { SearchEngine } from '../../src/query/search/engine.js';
import { PostgresSearchEngine } from '../../src/query/search/postgres-engine.js';
import { Synonyms } from '../../src/query/search/synonyms.js';
import type { QueryServices } from '../../src/query/session.js';
import { IdentityResolver } from '../../src/identity/resolver.js';
import { SourceDesk } from '../../src/query/source-desk.js';
import { SourceTrials } from '../../src/query/source-trials.js';
import { LiveSourceList } from '../../src/query/sources.js';
import { KeyDesk } from '../../src/query/key-desk.js';
import { LetterDesk } from '../../src/query/letter-desk.js';
import { MasterStore } from '../../src/query/store/master-store.js';
import { bodyHash, openBody, sealBody } from '../../src/sealing/body.js';
import { fileKeyProvider } from '../../src/sealing/key-provider.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { KeyStore } from '../../src/sealing/key-store.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

export interface Sent {
  readonly id: string;
  readonly position: bigint;
  readonly recordedAt: string;
}

export interface Message {
  /** ER7 lines, without the carriage returns, a FHIR resource, or a clinical event. */
  readonly content: readonly string[] | Record<string, unknown>;
  readonly record?: string;
  readonly patient?: string;
  readonly links?: readonly RecordLink[];
  readonly controlId?: string;
  readonly records?: Record<string, string>;
  readonly duplicateOf?: string;
  /** Zone of the source; UTC where it is left out. */
  readonly timeZone?: string;
}

export interface Answer {
  // A test reads its own query's answer.
  readonly data: Record<string, unknown> | null;
  readonly errors?: readonly { readonly message: string; readonly extensions: Record<string, unknown> }[];
  readonly headers: Headers;
  readonly text: string;
}

/** What tests look at in resources and bundles. */
export interface FhirBody {
  readonly resourceType: string;
  readonly id?: string;
  readonly total?: number;
  readonly meta?: { readonly versionId?: string; readonly lastUpdated?: string };
  readonly link?: readonly { readonly relation: string; readonly url: string }[];
  readonly entry?: readonly {
    readonly fullUrl?: string;
    readonly resource?: FhirBody;
    readonly search?: { readonly mode: string };
    readonly request?: { readonly method: string };
  }[];
  readonly [element: string]: unknown;
}

export interface FhirAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: FhirBody;
}

/** Search on an OpenSearch: the store of the projection and the engine over it, of the log of that id. */
export interface TestOpenSearch {
  outside(hashes: KeyedHashes, logId: string, pool: pg.Pool): NonNullable<SearchProjectionOptions['outside']>;
  engine(): SearchEngine;
}

interface TestLane {
  readonly name: string;
  readonly client: pg.Client;
  readonly batches: BatchWriter;
}

export class TestHub {
  private constructor(
    readonly database: TestDatabase,
    private readonly log: EventLogWriter,
    readonly reader: EventLogReader,
    private readonly writer: LogWriter,
    readonly keys: KeyStore,
    private readonly decoder: EventDecoder,
    readonly store: MasterStore,
    private readonly app: INestApplication,
    /** Where it listens. */
    readonly url: string,
    private readonly lanes: readonly TestLane[],
    private readonly watermarks: Watermarks,
    readonly failures: unknown[],
    readonly keyFile: string,
    readonly services: QueryServices,
  ) {}

  /**
   * @param options `database` and `keyFile`: of a hub that was moved there, instead of new ones; `stop` drops the database either way;
   *   `openSearch`: what search runs on instead of PostgreSQL; `documents`: those that are listed; `principal`: who asks
   */
  static async start(
    options: {
      clock?: () => string;
      database?: TestDatabase;
      keyFile?: string;
      openSearch?: TestOpenSearch;
      documents?: ListedDocuments;
      principal?: () => Principal;
    } = {},
  ): Promise<TestHub> {
    const database = options.database ?? (await createTestDatabase());
    const log = await openPostgresLogWriter(database.url);
    const writer = await LogWriter.open({
      log,
      pool: database.pool,
      ...(options.clock === undefined ? {} : { clock: options.clock }),
    });
    const reader = await openPostgresLogReader(database.url);
    const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-query-'));
    const keyFile = path.join(folder, 'master.key');
    if (options.keyFile !== undefined) copyFileSync(options.keyFile, keyFile);
    const keys = await KeyStore.open(database.pool, await fileKeyProvider(keyFile));
    const parts = { keys, reader, openBody, readHl7 };
    const decoder = new EventDecoder({ ...parts, mapMessage });
    const ruleDecoder = new EventDecoder({
      ...parts,
      mapMessage: (content, context) => mapMessage(content, context, { rules: true }),
    });
    const lanes: TestLane[] = [];
    for (const definition of [
      createMasterProjection({ hashes: keys.hashes }),
      createSearchProjection({
        hashes: keys.hashes,
        ...(options.openSearch === undefined
          ? {}
          : { outside: options.openSearch.outside(keys.hashes, reader.id, database.pool) }),
      }),
    ]) {
      const build = await installBuild(database.pool, definition, reader.id, { state: 'live', serving: true });
      if (build === undefined) throw new Error(`${definition.name} was there already`);
      const client = await openClient(database.url);
      lanes.push({
        name: definition.name,
        client,
        batches: new BatchWriter(client, { definition, build, lane: 0, mode: 'live' }),
      });
    }
    const watermarks = await Watermarks.open(database.pool, database.url);
    const store = new MasterStore(database.pool);
    const failures: unknown[] = [];
    const directory = { ...configuredSources({}, 'UTC'), settingsOf: () => ({}), look: async () => undefined };
    const sources = new LiveSourceList({
      directory,
      reader,
      pool: database.pool,
      defaults: { timeZone: 'UTC' },
      file: {},
    });
    const forgetting = new Forgetting({ pool: database.pool, reader, decoder, hashes: keys.hashes });
    const services: QueryServices = {
      store,
      basis: new BasisResolver({
        pool: database.pool,
        logId: reader.id,
        logHead: POSTGRES_LOG_HEAD,
        forget: (build, epoch) => forgetting.upTo(build, epoch),
        moved: () => new Promise((resolve) => setImmediate(resolve)),
      }),
      operations: new OperationsView(database.pool, reader),
      reader,
      decoder: ruleDecoder,
      hashes: keys.hashes,
      sources,
      keyDesk: new KeyDesk(database.pool, { request: refuse }),
      letterDesk: new LetterDesk(database.pool, { request: refuse }, { keysForOwners: refuse }),
      sourceDesk: new SourceDesk({ request: refuse }, sources, directory),
      trials: new SourceTrials(
        {
          tenant: 'main',
          hashes: keys.hashes,
          identity: IdentityResolver.open({ pool: database.pool, hashes: keys.hashes, cacheSize: 0 }),
        },
        directory,
        { timeZone: 'UTC' },
      ),
      search: new SearchDesk({
        pool: database.pool,
        watermarks,
        postgres: new PostgresSearchEngine(database.pool),
        ...(options.openSearch === undefined ? {} : { openSearch: options.openSearch.engine() }),
        synonyms: Synonyms.load(),
      }),
      desk: new ProjectionDesk(database.pool, reader, { request: refuse }, keys.hashes),
      mutations: new MutationMemory(database.pool, keys.hashes),
    };
    const app = await NestFactory.create(
      GraphModule.register({
        principal: () => options.principal?.() ?? LOOPBACK_PRINCIPAL,
        services,
        limits: { depth: 15, cost: 100_000 },
        documents: options.documents ?? ListedDocuments.none(),
        onFailure: (error) => failures.push(error),
      }),
      { logger: false, abortOnError: false },
    );
    app.use(fhirRoutes({ services, onFailure: (error) => failures.push(error) }));
    await app.listen(0, '127.0.0.1');
    const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
    return new TestHub(
      database,
      log,
      reader,
      writer,
      keys,
      decoder,
      store,
      app,
      `http://127.0.0.1:${port}`,
      lanes,
      watermarks,
      failures,
      keyFile,
      services,
    );
  }

  /** Appends messages in one round, without projecting them. */
  async append(messages: readonly Message[]): Promise<Sent[]> {
    const owners = messages.map((message) => message.record ?? randomUUID());
    const keys = await this.keys.keysForOwners(owners);
    const pending = messages.map((message, index) => {
      const hl7 = Array.isArray(message.content);
      const bytes = Buffer.from(
        hl7 ? (message.content as readonly string[]).join('\r') : JSON.stringify(message.content),
      );
      const id = randomUUID();
      const fhir = !hl7 && 'resourceType' in message.content;
      const type = hl7 ? 'inbound.hl7v2' : fhir ? 'inbound.fhir' : 'inbound.event';
      const owner = owners[index] as string;
      const key = keys.get(owner);
      if (key === undefined) throw new Error('no key');
      const header: SealedHeader = {
        ...(message.controlId === undefined ? {} : { controlId: message.controlId }),
        timeZone: message.timeZone ?? 'UTC',
        ...(message.records === undefined ? {} : { records: message.records }),
      };
      const data = sealBody(key, { eventId: id, ownerId: owner, type }, header, bytes);
      const envelope: UnstampedEnvelope = {
        schema: 1,
        tenant: 'main',
        source: 'mllp',
        sourceVersion: 1,
        contentType: hl7 ? 'x-application/hl7-v2+er7' : fhir ? 'application/fhir+json' : 'application/json',
        messageType: hl7
          ? ((message.content as readonly string[])[0] as string).split('|')[8]?.replace(/^([^^]*\^[^^]*).*/, '$1')
          : fhir
            ? (message.content as { resourceType: string }).resourceType
            : (message.content as { type: string }).type,
        ...(message.record === undefined ? {} : { sourceRecordId: message.record }),
        ...(message.patient === undefined ? {} : { patientId: message.patient }),
        ...(message.links === undefined
          ? message.record === undefined || message.patient === undefined
            ? {}
            : { links: [{ sourceRecordId: message.record, patientId: message.patient, reason: 'first' as const }] }
          : { links: message.links }),
        validation: { state: 'valid' },
        decoder: 1,
        keyId: key.keyId,
        bodyHash: bodyHash(data),
        ...(message.duplicateOf === undefined ? {} : { duplicateOf: message.duplicateOf }),
      };
      return { stream: clinicalStream(partitionOf(owner)), id, type, envelope, data };
    });
    return (await this.writer.submit(pending)).map(({ id, position, recordedAt }) => ({ id, position, recordedAt }));
  }

  /** Projects everything that is in the log, into one projection or all. */
  async project(pageSize = 500, only?: string): Promise<void> {
    const parkings = await Parkings.load(this.database.pool);
    for (const { name, batches } of this.lanes) {
      if (only !== undefined && only !== name) continue;
      for (;;) {
        const { rows } = await this.database.pool.query<{ position: bigint }>(
          'select position from hub.checkpoint where projection = $1',
          [name],
        );
        const after = rows[0]?.position ?? 0n;
        const page = await this.reader.readPage({ after, limit: pageSize });
        const last = page.at(-1);
        if (last === undefined) break;
        await batches.write(
          { events: await this.decoder.decode(page), expected: after, target: last.position, rate: 0 },
          parkings,
        );
      }
    }
  }

  /** Empties the master store and derives it from the log again, in pages of so many events. */
  async deriveAnew(pageSize: number): Promise<void> {
    const tables = [...(Object.values(masterTables(1)) as string[]), ...(Object.values(censusTables(1)) as string[])];
    await this.database.pool.query(`truncate ${tables.join()}`);
    await this.database.pool.query(`insert into ${censusTables(1).state} (position, steps) values (0, 0)`);
    await this.database.pool.query("update hub.checkpoint set position = 0 where projection = 'master'");
    await this.project(pageSize);
  }

  /** Appends and projects one message. */
  async send(message: Message): Promise<Sent> {
    const [sent] = await this.append([message]);
    await this.project();
    return sent as Sent;
  }

  async ask(query: string, variables: Record<string, unknown> = {}): Promise<Answer> {
    const response = await fetch(`${this.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
    });
    const text = await response.text();
    return { ...(JSON.parse(text) as Omit<Answer, 'headers' | 'text'>), headers: response.headers, text };
  }

  /** The data of an answer without errors. */
  async data<Data>(query: string, variables: Record<string, unknown> = {}): Promise<Data> {
    const answer = await this.ask(query, variables);
    if (answer.errors !== undefined)
      throw new Error(`${JSON.stringify(answer.errors)} ${String(this.failures.at(-1))}`);
    return answer.data as Data;
  }

  /** A FHIR request; `path` behind `/fhir/`. */
  async fhir(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<FhirAnswer> {
    const response = await fetch(`${this.url}/fhir/${path}`, { method, headers });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: (text === '' ? {} : JSON.parse(text)) as FhirBody,
    };
  }

  async stop(): Promise<void> {
    await this.app.close();
    await this.writer.close();
    await this.log.close();
    await this.reader.close();
    await this.watermarks.close();
    for (const { client } of this.lanes) await client.end();
    await this.database.drop();
    rmSync(path.dirname(this.keyFile), { recursive: true, force: true });
  }
}

async function refuse(): Promise<never> {
  throw new WriterUnavailableError('not-done');
}

let counter = 0;

/** A new source record of a new patient. */
export function person(): { readonly record: string; readonly patient: string; readonly mrn: string } {
  counter += 1;
  return { record: randomUUID(), patient: randomUUID(), mrn: `M${counter}` };
}

/** Digits of a time as HL7 v2 writes it in UTC. */
export function hl7Time(instant: string): string {
  return `${instant.replace(/[-:T]/g, '').slice(0, 14)}+0000`;
}

export interface Adt {
  readonly trigger: string;
  readonly mrn: string;
  /** EVN-6 and EVN-2. */
  readonly at: string;
  readonly name?: string;
  readonly phone?: string;
  readonly sex?: string;
  readonly birthDate?: string;
  /** PV1-3; without it there is no PV1. */
  readonly location?: string;
  readonly class?: string;
  readonly visit?: string;
  readonly merged?: string;
  readonly more?: readonly string[];
}

/** An ADT message, small and of HL7 v2.5.1. */
export function adt(message: Adt): string[] {
  counter += 1;
  const time = hl7Time(message.at);
  return [
    `MSH|^~\\&|ADT|MERCY|HUB|HUB|${time}||ADT^${message.trigger}|C${counter}|P|2.5.1`,
    `EVN|${message.trigger}|${time}||||${time}`,
    `PID|1||${message.mrn}^^^MERCY^MR||${message.name ?? ''}||${message.birthDate ?? ''}|${message.sex ?? ''}|||||${message.phone ?? ''}`,
    ...(message.merged === undefined ? [] : [`MRG|${message.merged}^^^MERCY^MR`]),
    ...(message.location === undefined
      ? []
      : [`PV1|1|${message.class ?? 'I'}|${message.location}${'|'.repeat(16)}${message.visit ?? 'V1'}`]),
    ...(message.more ?? []),
  ];
}

/** What a set of bytes is, for comparing answers. */
export function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
