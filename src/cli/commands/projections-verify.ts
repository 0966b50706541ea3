/** `anamnesis projections verify`: asks for it, waits for the report, prints it. */
import { setTimeout as pause } from 'node:timers/promises';
import type { VerifyReport } from '../../projecting/verify.js';
import { CliError } from '../cli-error.js';
import type { HubClient } from '../hub-client.js';
import { grouped, table } from '../output.js';
import { BEGIN_TIMEOUT_MS, POLL_MS, type RebuildProgress } from './projections.js';

/** Of the report what is printed. */
type Report = Pick<VerifyReport, 'position' | 'defects' | 'findings' | 'log' | 'serving'>;

export interface Verification {
  readonly id: string;
  readonly version: number;
  readonly state: 'WANTED' | 'RUNNING' | 'DONE' | 'FAILED';
  readonly progress: number;
  readonly equal: boolean | null;
  readonly error: string | null;
  readonly report: Report | null;
}

/** Findings printed; the report has up to a hundred. */
const SHOWN_FINDINGS = 20;

async function verificationsOf(hub: HubClient, name: string): Promise<readonly Verification[]> {
  const { projections } = await hub.data<{ projections: { name: string; verifications: Verification[] }[] }>(
    'clinical',
    '{ projections { name verifications(first: 5) { id version state progress equal error report } } }',
  );
  return projections.find((projection) => projection.name === name)?.verifications ?? [];
}

/**
 * Has a build verified and waits for the report.
 * @param build without it the one that serves
 * @throws CliError where it does not begin or could not be carried out
 */
export async function verifyProjection(
  hub: HubClient,
  name: string,
  build: number | undefined,
  progress?: RebuildProgress,
): Promise<Verification> {
  const before = new Set((await verificationsOf(hub, name)).map(({ id }) => id));
  await hub.data(
    'clinical',
    'mutation ($name: String!, $version: Int) { verifyProjection(name: $name, version: $version) { name } }',
    { name, version: build ?? null },
  );
  const asked = performance.now();
  try {
    for (let id: string | undefined; ; await pause(POLL_MS)) {
      const all = await verificationsOf(hub, name);
      // The oldest that is new: another may have been asked for meanwhile.
      id ??= all.findLast((verification) => !before.has(verification.id))?.id;
      const own = all.find((verification) => verification.id === id);
      if (own?.state === 'DONE') return own;
      if (own?.state === 'FAILED') throw new CliError(own.error ?? 'the verification was not carried out');
      if (own === undefined && performance.now() - asked > BEGIN_TIMEOUT_MS) {
        throw new CliError(`the verification of ${name} does not begin: see \`anamnesis status\``);
      }
      if (own !== undefined) progress?.({ progress: own.progress, rate: 0, etaSeconds: null });
    }
  } finally {
    progress?.(undefined);
  }
}

/** Counts by table, answers, what was explained, and the first defects. */
export function describeVerification(name: string, { version, equal, report }: Verification): string {
  const lines: string[] = [];
  if (report?.log !== undefined) {
    lines.push(
      table(
        ['table', 'rows', 'expected', 'missing', 'extra', 'changed'],
        report.log.tables.map((one) => [one.table, one.rows, one.expected, one.missing, one.extra, one.changed]),
      ),
    );
    const { answers } = report.log;
    if (answers !== undefined) {
      lines.push(
        `${grouped(answers.answers)} answers about ${grouped(answers.patients)} patients, ${grouped(answers.different)} different`,
      );
    }
  }
  for (const { version: rules, reason, fields } of report?.serving?.explained ?? []) {
    lines.push(`explained by version ${rules} (${reason}): ${Object.keys(fields).join(', ')}`);
  }
  const findings = report?.findings ?? [];
  if (findings.length > 0) {
    lines.push(
      table(
        ['defect', 'in', 'position', 'record', 'patient', 'fields', 'build'],
        findings
          .slice(0, SHOWN_FINDINGS)
          .map((one) => [one.defect, one.table, one.position, one.record, one.patient, one.fields, one.build]),
      ),
    );
  }
  lines.push(
    equal === true
      ? `build ${version} of ${name} is what the log says, up to position ${report?.position ?? ''}`
      : `build ${version} of ${name} differs: ${grouped(report?.defects ?? 0)} defects up to position ${report?.position ?? ''}`,
  );
  return lines.join('\n');
}
