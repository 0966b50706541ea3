import { Presets, SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import {
  ingestFiles,
  IngestPathError,
  type IngestProgress,
  type IngestSummary,
} from '../../inbound/files/ingest-files.js';
import { SendError } from '../../inbound/files/sender.js';
import { CliError, EXIT } from '../cli-error.js';
import { findHub } from '../hub-client.js';
import { withHub, type HubOptions } from '../options.js';
import { duration, grouped } from '../output.js';

export function ingestCommand(program: Command): void {
  withHub(program.command('ingest'))
    .description(
      'send messages, batch files, NDJSON or FHIR from files, folders or standard input (`-`) to the running hub',
    )
    .argument('<path...>', 'files and folders; `-` is standard input')
    .option('--source <id>', 'source that they come from', 'file')
    .action(async (paths: string[], options: HubOptions & { source: string }) => {
      const { url, access } = await findHub(options);
      const bar = options.json === true || !process.stderr.isTTY ? undefined : progressBar();
      let summary: IngestSummary;
      try {
        summary = await ingestFiles({
          paths,
          url,
          source: options.source,
          ...access,
          onProgress: (progress) => bar?.show(progress),
        });
      } catch (error) {
        if (error instanceof IngestPathError) throw new CliError(error.message, EXIT.usage, { cause: error });
        if (error instanceof SendError) throw new CliError(error.message, EXIT.failed, { cause: error });
        throw error;
      } finally {
        bar?.stop();
      }
      console.log(options.json === true ? JSON.stringify(summary) : wordSummary(summary));
      for (const { path, entry, code } of summary.unreadable)
        console.error(`${path}${entry === undefined ? '' : ` (file ${entry} of the archive)`}: ${code}`);
      const unreadable = new Set(summary.unreadable.map(({ path }) => path)).size;
      if (unreadable > 0) throw new CliError(`${grouped(unreadable)} files could not be taken whole`);
      if (summary.refused > 0) throw new CliError(`${grouped(summary.refused)} refused: they are not stored`);
    });
}

function progressBar(): { show(progress: IngestProgress): void; stop(): void } {
  const bar = new SingleBar(
    {
      format: '{bar} {percentage}% | {messages} messages, {rate}/s | {files} of {allFiles} files',
      hideCursor: true,
      stream: process.stderr,
    },
    Presets.shades_classic,
  );
  const started = performance.now();
  let running = false;
  return {
    show(progress) {
      const messages = progress.accepted + progress.duplicate + progress.conflict + progress.parked + progress.refused;
      const rate = Math.round((messages * 1000) / Math.max(performance.now() - started, 1));
      const shown = {
        messages: grouped(messages),
        rate: grouped(rate),
        files: grouped(progress.files),
        allFiles: grouped(progress.totalFiles),
      };
      const total = Math.max(progress.totalBytes, progress.bytes, 1);
      if (!running) bar.start(total, progress.bytes, shown);
      running = true;
      bar.setTotal(total);
      bar.update(progress.bytes, shown);
    },
    stop() {
      if (running) bar.stop();
    },
  };
}

function wordSummary(summary: IngestSummary): string {
  const { accepted, duplicate, conflict, parked, refused, files, skipped, seconds } = summary;
  const messages = accepted + duplicate + conflict + parked + refused;
  const counts = [
    `accepted ${grouped(accepted + conflict)}${conflict === 0 ? '' : ` (${grouped(conflict)} with a control id seen before and other content)`}`,
    `duplicate ${grouped(duplicate)}`,
    `parked ${grouped(parked)}`,
    ...(refused === 0 ? [] : [`refused ${grouped(refused)}`]),
  ];
  const rate = Math.round(messages / Math.max(seconds, 0.001));
  const passedOver = skipped === 0 ? '' : `; ${grouped(skipped)} files hold no messages`;
  return `${counts.join(', ')}\n${grouped(messages)} messages from ${grouped(files)} files in ${duration(seconds)} (${grouped(rate)}/s)${passedOver}`;
}
