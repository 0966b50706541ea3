/** Changes of sources: a command becomes a request to the writer, and is answered with the version that it made. */
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Inject, Injectable } from '@nestjs/common';
import { SOURCE_REQUEST, type SourceAnswer } from '../inbound/sources/book.js';
import { UnknownSourceError, type SourceRequest } from '../inbound/sources/decide.js';
import type { Json } from '../mapping/fact.js';
import type { Mailbox } from '../projecting/announcer.js';
import type { SourceList, SourceView } from './sources.js';

/** Makes, changes, switches or rolls back a source. */
export class ChangeSource {
  constructor(readonly request: SourceRequest) {}
}

const REQUEST_TIMEOUT_MS = 10_000;

@Injectable()
export class SourceDesk {
  constructor(
    private readonly mailbox: Mailbox,
    private readonly sources: SourceList,
    /** Takes in what the writer has just made. */
    private readonly look: () => Promise<void>,
  ) {}

  /** @throws WriterUnavailableError, WriterRequestError with the codes of src/inbound/sources/decide.ts */
  async change(request: SourceRequest): Promise<SourceAnswer> {
    const payload: { [key: string]: Json } = { ...request, action: { ...request.action } as { [key: string]: Json } };
    const answer = await this.mailbox.request(SOURCE_REQUEST, payload, { timeoutMs: REQUEST_TIMEOUT_MS });
    return answer as unknown as SourceAnswer;
  }

  /** The source at the version that a change made, for ever the same. */
  async shown(answer: Pick<SourceAnswer, 'id' | 'version'>): Promise<SourceView> {
    await this.look();
    const view = await this.sources.at(answer.id, answer.version);
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
