/** The auditor: a past state, what changed since, and which message did it. */
import { Findings, queryCommandLine, type AskedQuestion, type Asking } from './question.js';
import { STORY } from './story.js';

interface Messages {
  readonly messages: { readonly nodes: readonly { readonly position: string; readonly recordedAt: string }[] };
}
interface Chart {
  readonly at: {
    readonly basis: { readonly knownAt: string };
    readonly patientByIdentifier: {
      readonly id: string;
      readonly names: readonly { readonly family: string | null }[];
      readonly encounters: { readonly nodes: readonly { readonly location: string | null }[] };
      readonly observations: {
        readonly nodes: readonly {
          readonly display: string | null;
          readonly value: unknown;
          readonly unit: string | null;
        }[];
      };
    } | null;
  };
}
interface Diff {
  readonly diff: {
    readonly nodes: readonly {
      readonly kind: string;
      readonly operation: string;
      readonly fields: readonly { readonly path: string; readonly before: unknown; readonly after: unknown }[];
      readonly message: { readonly controlId: string | null; readonly type: string };
    }[];
  };
}

export async function askAsAuditor({ hub, flags }: Asking): Promise<AskedQuestion> {
  const findings = new Findings();
  const { messages } = await hub.data<Messages>(
    'clinical',
    'query ($controlId: String!) { messages(filter: { controlId: $controlId }, first: 1) { nodes { position recordedAt } } }',
    { controlId: STORY.transfer },
  );
  const point = messages.nodes[0]?.position ?? '0';
  const chart = `{ at(position: "${point}") { basis { knownAt } patientByIdentifier(authority: "${STORY.authority}", value: "${STORY.identifier}") {
    id names { family } encounters { nodes { location } } observations { nodes { display value unit } } } } }`;
  const then = (await hub.data<Chart>('clinical', chart)).at;
  const patient = then.patientByIdentifier;
  findings.expect(patient !== null, 'the patient was not known then');
  const family = patient?.names[0]?.family ?? '';
  const location = patient?.encounters.nodes[0]?.location ?? '';
  const result = patient?.observations.nodes[0];
  findings.expect(family === STORY.family, 'the name then was another');
  findings.expect(location.includes(STORY.secondWard), 'the ward then was another');
  findings.expect(numberOf(result?.value) === Number(STORY.wrongPotassium), 'the result then was another');

  const diff = await hub.data<Diff>(
    'clinical',
    `query ($patient: ID!, $from: Position!) { diff(from: { position: $from }, to: {}, patient: $patient) {
      nodes { kind operation fields { path before after } message { controlId type } } } }`,
    { patient: patient?.id ?? '', from: point },
  );
  const changes = diff.diff.nodes.flatMap((change) =>
    change.fields.map((field) => ({
      ...field,
      kind: change.kind,
      operation: change.operation,
      message: change.message,
    })),
  );
  const corrected = changes.find(
    ({ before, after }) =>
      numberOf(before) === Number(STORY.wrongPotassium) && numberOf(after) === Number(STORY.rightPotassium),
  );
  const renamed = changes.find(({ after }) => mentions(after, STORY.newFamily));
  findings.expect(corrected?.message.controlId === STORY.correction, 'the correction was not traced to its message');
  findings.expect(renamed?.message.controlId === STORY.rename, 'the change of name was not traced to its message');

  return {
    who: 'auditor',
    question: `What did the chart of ${STORY.authority} ${STORY.identifier} say at position ${point}, and what changed it since?`,
    answer: [
      `known at ${then.basis.knownAt}: ${family}, in ${location}, potassium ${text(result?.value)} ${result?.unit ?? ''}`,
      ...changes.map(
        (change) =>
          `${change.operation.toLowerCase()} ${change.kind.toLowerCase()} ${change.path}: ${text(change.before)} → ${text(change.after)}` +
          `   by ${change.message.type} ${change.message.controlId ?? ''}`,
      ),
    ],
    again: queryCommandLine(chart, 'auditor', flags),
    wrong: findings.wrong,
  };
}

/** A value of an observation as a number, whether it came bare or with its unit. */
function numberOf(value: unknown): number {
  if (typeof value === 'object' && value !== null && 'value' in value) return Number(value.value);
  return Number(value ?? Number.NaN);
}

function mentions(value: unknown, word: string): boolean {
  return JSON.stringify(value ?? null).includes(word);
}

function text(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
