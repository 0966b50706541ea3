/**
 * Commands about projections. Each becomes an event through the writer and is carried out by the project role; the answer comes when the tables
 * show it. The same idempotency key again gives the state as it is and does nothing.
 */
import { randomUUID } from 'node:crypto';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Inject, Injectable } from '@nestjs/common';
import type pg from 'pg';
import type { ProjectionDecision } from '../log/decisions.js';
import { EVENT_TYPES } from '../log/envelope.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import type { Json } from '../mapping/fact.js';
import type { Mailbox } from './announcer.js';
import { buildsOf, isUnderWay, type BuildRow } from './builds.js';
import { CONTROL, type ProjectionDecisionType } from './control.js';
import { DECISION_REQUEST } from './mailbox-handlers.js';
import { listProjections, type ProjectionStatus } from './status.js';
import { UnknownProjectionError } from './watermark.js';
import { pause } from './worker.js';

/** The projection does not stand as the command supposes: nothing was done. */
export class ProjectionConflictError extends Error {
  readonly code = 'CONFLICT';
}

export interface CommandOptions {
  /** Who asks: a user id or a role, no name. */
  readonly requestedBy: string;
  readonly idempotencyKey?: string;
  /** The build that the asker believes to serve. */
  readonly expectedVersion?: number;
}

export class RebuildProjection {
  constructor(
    readonly name: string,
    readonly verify: boolean,
    readonly options: CommandOptions,
    /** False: the new build stays beside the one that serves until somebody switches. */
    readonly switchWhenDone = true,
  ) {}
}
export class PauseProjection {
  constructor(
    readonly name: string,
    readonly options: CommandOptions,
  ) {}
}
export class ResumeProjection {
  constructor(
    readonly name: string,
    readonly options: CommandOptions,
  ) {}
}
export class CancelRebuild {
  constructor(
    readonly name: string,
    readonly options: CommandOptions,
  ) {}
}
export class SwitchProjection {
  constructor(
    readonly name: string,
    readonly version: number,
    readonly options: CommandOptions,
  ) {}
}
export class RollbackProjection {
  constructor(
    readonly name: string,
    readonly options: CommandOptions,
  ) {}
}

export class VerifyProjection {
  /** @param version the build to verify; without it the one that serves */
  constructor(
    readonly name: string,
    readonly version: number | undefined,
    readonly options: CommandOptions,
  ) {}
}

const REQUEST_TIMEOUT_MS = 10_000;
/** The project role carries decisions out within milliseconds; while it is away the decision stands and the answer does not wait for it. */
const CARRIED_OUT_TIMEOUT_MS = 5_000;

/** What the handlers share; made by the process that serves the graph. */
@Injectable()
export class ProjectionDesk {
  constructor(
    private readonly pool: pg.Pool,
    private readonly reader: EventLogReader,
    private readonly mailbox: Mailbox,
    private readonly hashes: Pick<KeyedHashes, 'uuid'>,
  ) {}

  /**
   * @param check looks at the builds, newest first; throws ProjectionConflictError; may say which build the decision is about
   * @throws UnknownProjectionError, ProjectionConflictError, WriterUnavailableError
   */
  async decide(
    name: string,
    type: ProjectionDecisionType,
    options: CommandOptions,
    more: Pick<ProjectionDecision, 'verify' | 'switch'>,
    check: (builds: readonly BuildRow[], serving: BuildRow) => { version?: number } | void,
  ): Promise<ProjectionStatus> {
    const key = options.idempotencyKey ?? randomUUID();
    const id = this.hashes.uuid('decision', type, name, key);
    const { rows } = await this.pool.query('select 1 from hub.projection_decision where event_id = $1', [id]);
    if (rows.length > 0) return this.status(name);
    const builds = await buildsOf(this.pool, name);
    const serving = builds.find((row) => row.serving);
    if (serving === undefined) throw new UnknownProjectionError(name);
    if (options.expectedVersion !== undefined && options.expectedVersion !== serving.version) {
      throw new ProjectionConflictError(`projection ${name} is served by build ${serving.version}`);
    }
    const about = check(builds, serving) ?? {};
    const decision: ProjectionDecision = {
      projection: name,
      ...about,
      ...more,
      requestedBy: options.requestedBy,
      ...(options.idempotencyKey === undefined ? {} : { idempotencyKey: options.idempotencyKey }),
    };
    const request: { [key: string]: Json } = { id, type, decision: { ...decision } };
    const answer = await this.mailbox.request(DECISION_REQUEST, request, { timeoutMs: REQUEST_TIMEOUT_MS });
    await this.carriedOut(BigInt((answer as { position: string }).position));
    return this.status(name);
  }

  async status(name: string): Promise<ProjectionStatus> {
    const found = (await listProjections(this.pool, this.reader)).find((status) => status.name === name);
    if (found === undefined) throw new UnknownProjectionError(name);
    return found;
  }

  private async carriedOut(position: Position): Promise<void> {
    const deadline = performance.now() + CARRIED_OUT_TIMEOUT_MS;
    const never = new AbortController().signal;
    for (let wait = 5; performance.now() < deadline; wait = Math.min(wait * 2, 200)) {
      const { rows } = await this.pool.query<{ position: Position }>(
        'select position from hub.checkpoint where projection = $1',
        [CONTROL],
      );
      if (rows.some((row) => row.position >= position)) return;
      await pause(wait, never);
    }
  }
}

@CommandHandler(RebuildProjection)
export class RebuildProjectionHandler implements ICommandHandler<RebuildProjection, ProjectionStatus> {
  constructor(@Inject(ProjectionDesk) private readonly desk: ProjectionDesk) {}

  execute({ name, verify, options, switchWhenDone }: RebuildProjection): Promise<ProjectionStatus> {
    const more = { verify, ...(switchWhenDone ? {} : { switch: false }) };
    return this.desk.decide(name, EVENT_TYPES.rebuildRequested, options, more, (builds, serving) => {
      if (serving.paused) throw new ProjectionConflictError(`projection ${name} is paused: resume it first`);
      if (builds.some(isUnderWay)) throw new ProjectionConflictError(`a rebuild of ${name} is under way`);
    });
  }
}

@CommandHandler(PauseProjection)
export class PauseProjectionHandler implements ICommandHandler<PauseProjection, ProjectionStatus> {
  constructor(@Inject(ProjectionDesk) private readonly desk: ProjectionDesk) {}

  execute({ name, options }: PauseProjection): Promise<ProjectionStatus> {
    return this.desk.decide(name, EVENT_TYPES.projectionPaused, options, {}, () => undefined);
  }
}

@CommandHandler(ResumeProjection)
export class ResumeProjectionHandler implements ICommandHandler<ResumeProjection, ProjectionStatus> {
  constructor(@Inject(ProjectionDesk) private readonly desk: ProjectionDesk) {}

  execute({ name, options }: ResumeProjection): Promise<ProjectionStatus> {
    return this.desk.decide(name, EVENT_TYPES.projectionResumed, options, {}, () => undefined);
  }
}

@CommandHandler(CancelRebuild)
export class CancelRebuildHandler implements ICommandHandler<CancelRebuild, ProjectionStatus> {
  constructor(@Inject(ProjectionDesk) private readonly desk: ProjectionDesk) {}

  execute({ name, options }: CancelRebuild): Promise<ProjectionStatus> {
    return this.desk.decide(name, EVENT_TYPES.rebuildCancelled, options, {}, (builds) => {
      const running = builds.find(isUnderWay);
      if (running === undefined) throw new ProjectionConflictError(`no rebuild of ${name} is under way`);
      return { version: running.version };
    });
  }
}

@CommandHandler(SwitchProjection)
export class SwitchProjectionHandler implements ICommandHandler<SwitchProjection, ProjectionStatus> {
  constructor(@Inject(ProjectionDesk) private readonly desk: ProjectionDesk) {}

  execute({ name, version, options }: SwitchProjection): Promise<ProjectionStatus> {
    return this.desk.decide(name, EVENT_TYPES.projectionSwitched, options, {}, (builds, serving) => {
      const row = builds.find((build) => build.version === version);
      if (row === undefined) throw new ProjectionConflictError(`projection ${name} has no build ${version}`);
      if (row.serving) throw new ProjectionConflictError(`build ${version} of ${name} serves already`);
      if (row.state !== 'built' && row.state !== 'retired') {
        throw new ProjectionConflictError(`build ${version} of ${name} is ${row.state}`);
      }
      refuseOtherDefinition(row, serving);
      return { version };
    });
  }
}

@CommandHandler(RollbackProjection)
export class RollbackProjectionHandler implements ICommandHandler<RollbackProjection, ProjectionStatus> {
  constructor(@Inject(ProjectionDesk) private readonly desk: ProjectionDesk) {}

  execute({ name, options }: RollbackProjection): Promise<ProjectionStatus> {
    return this.desk.decide(name, EVENT_TYPES.projectionSwitched, options, {}, (builds, serving) => {
      const row = builds.find((build) => build.state === 'retired');
      if (row === undefined) throw new ProjectionConflictError(`projection ${name} has no earlier build`);
      refuseOtherDefinition(row, serving);
      return { version: row.version };
    });
  }
}

@CommandHandler(VerifyProjection)
export class VerifyProjectionHandler implements ICommandHandler<VerifyProjection, ProjectionStatus> {
  constructor(@Inject(ProjectionDesk) private readonly desk: ProjectionDesk) {}

  execute({ name, version, options }: VerifyProjection): Promise<ProjectionStatus> {
    return this.desk.decide(name, EVENT_TYPES.verificationRequested, options, {}, (builds, serving) => {
      const row = version === undefined ? serving : builds.find((build) => build.version === version);
      if (row === undefined) throw new ProjectionConflictError(`projection ${name} has no build ${version}`);
      if (row.state !== 'live' && row.state !== 'built' && row.state !== 'retired') {
        throw new ProjectionConflictError(`build ${row.version} of ${name} is ${row.state}`);
      }
      return { version: row.version };
    });
  }
}

/** Tables of another form need the code they were made for; where only the rules changed, the build is carried on and can serve. */
function refuseOtherDefinition(row: BuildRow, serving: BuildRow): void {
  if (row.definition_hash === serving.definition_hash) return;
  throw new ProjectionConflictError(
    `build ${row.version} has other tables (definition version ${row.definition_version}): start the release of the hub that has them`,
  );
}

/** To be listed among the providers of the module that imports CqrsModule, beside a ProjectionDesk. */
export const PROJECTION_COMMAND_HANDLERS = [
  RebuildProjectionHandler,
  PauseProjectionHandler,
  ResumeProjectionHandler,
  CancelRebuildHandler,
  SwitchProjectionHandler,
  RollbackProjectionHandler,
  VerifyProjectionHandler,
];
