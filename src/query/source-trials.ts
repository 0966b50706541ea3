/** Trials of messages for the graph: docs/sources.md, "Trying a message". */
import { resolveSource, type SourceDefaults } from '../inbound/source.js';
import { patchSettings, readSourceSettings, SourceSettingsError } from '../inbound/sources/settings.js';
import { tryMessage, type Trial, type TrialParts } from '../inbound/sources/trial.js';
import { UnknownSourceError } from '../inbound/sources/decide.js';
import type { SourceDirectory } from '../inbound/sources.js';
import type { SourceSettings } from '../inbound/source.js';

export interface TrialRequest {
  readonly id: string;
  /** Base64. */
  readonly body: string;
  readonly contentType?: string | undefined;
  /** Tried instead of those that are in force, as `setSource` would change them. */
  readonly settings?: unknown;
}

const MOST_BYTES = 50 * 1024 * 1024;

export class SourceTrials {
  constructor(
    private readonly parts: TrialParts,
    private readonly directory: SourceDirectory & { settingsOf(id: string): SourceSettings | undefined },
    private readonly defaults: SourceDefaults,
  ) {}

  /** @throws UnknownSourceError, SourceSettingsError */
  async run({ id, body, contentType, settings }: TrialRequest): Promise<Trial> {
    const current = this.directory.find(id);
    if (current === undefined && settings === undefined) throw new UnknownSourceError();
    const own = this.directory.settingsOf(id) ?? {};
    const wanted = settings === undefined ? readSourceSettings(id, own) : patchSettings(id, own, settings);
    const bytes = Buffer.from(body, 'base64');
    if (bytes.length > MOST_BYTES) throw new SourceSettingsError('body', `expected at most ${MOST_BYTES} bytes`);
    return tryMessage(
      this.parts,
      resolveSource(id, current?.version ?? 0, wanted, this.defaults),
      bytes,
      ...(contentType === undefined ? [] : [contentType]),
    );
  }
}
