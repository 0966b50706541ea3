/** Changes of sources: a command becomes a request to the writer, and is answered with the version that it made. */
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Inject, Injectable } from '@nestjs/common';
import { SOURCE_REQUEST, type SourceAnswer } from '../inbound/sources/book.js';
import { UnknownSourceError, type SourceRequest } from '../inbound/sources/decide.js';
import type { Json } from '../mapping/fact.js';
import type { Mailbox } from '../projecting/announcer.js';
import { pause } from '../projecting/worker.js';
import type { SourceDirectory } from '../inbound/sources.js';
import type { SourceList, SourceView } from './sources.js';

/** Makes, changes, switches or rolls back a source. */
export class ChangeSource {
  constructor(readonly request: SourceRequest) {}
}

const REQUEST_TIMEOUT_MS = 10_000;
/** The writer tells other processes right behind its answer; where that takes longer the change stands all the same. */
const SEEN_TIMEOUT_MS = 2_000;
const FIRST_LOOK_MS = 2;

@Injectable()
export class SourceDesk {
  constructor(
    private readonly mailbox: Mailbox,
    private readonly sources: SourceList,
    private readonly directory: Pick<SourceDirectory, 'find'> & { look(): Promise<void> },
  ) {}

  /** @throws WriterUnavailableError, WriterRequestError with the codes of src/inbound/sources/decide.ts */
  async change(request: SourceRequest): Promise<SourceAnswer> {
    const payload: { [key: string]: Json } = { ...request, action: { ...request.action } as { [key: string]: Json } };
    const answer = await this.mailbox.request(SOURCE_REQUEST, payload, { timeoutMs: REQUEST_TIMEOUT_MS });
    return answer as unknown as SourceAnswer;
  }

  /**
   * The source at the version that a change made, for ever the same. It is answered once this process goes by that version (or a later one),
   * so that whoever asks next sees it.
   */
  async shown({ id, version }: Pick<SourceAnswer, 'id' | 'version'>): Promise<SourceView> {
    const deadline = performance.now() + SEEN_TIMEOUT_MS;
    const never = new AbortController().signal;
    for (let waitMs = FIRST_LOOK_MS; ; waitMs *= 2) {
      await this.directory.look();
      if ((this.directory.find(id)?.version ?? 0) >= version || performance.now() > deadline) break;
      await pause(waitMs, never);
    }
    const view = await this.sources.at(id, version);
    if (view === undefined) throw new UnknownSourceError();
    return view;
  }
}

@CommandHandler(ChangeSource)
export class ChangeSourceHandler implements ICommandHandler<ChangeSource, SourceAnswer> {
  constructor(@Inject(SourceDesk) private readonly desk: SourceDesk) {}

  execute({ request }: ChangeSource): Promise<SourceAnswer> {
    return this.desk.change(request);
  }
}
