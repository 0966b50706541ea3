/** What exports show while they run and when they are done: counts, no row. */
import cliProgress from 'cli-progress';
import type { ExportedTable } from '../lake/export.js';
import type { CommonOptions } from './options.js';
import { grouped, table } from './output.js';

/** A bar on standard error, where somebody looks. */
export function exportProgress(
  options: CommonOptions,
): { part(this: void, done: number, all: number, rows: number): void; stop(): void } | undefined {
  if (options.json === true || !process.stderr.isTTY) return undefined;
  const bar = new cliProgress.SingleBar({
    format: 'exporting [{bar}] {percentage} %  {rows} rows',
    stream: process.stderr,
    hideCursor: true,
  });
  bar.start(1, 0, { rows: '0' });
  return {
    part: (done, all, rows) => {
      bar.setTotal(all);
      bar.update(done, { rows: grouped(rows) });
    },
    stop: () => bar.stop(),
  };
}

export function describeExport(tables: readonly ExportedTable[]): string {
  return table(
    ['table', 'rows', 'bytes', 'files', 'version'],
    tables.map(({ table: name, rows, bytes, files, version }) => [name, grouped(rows), grouped(bytes), files, version]),
  );
}
