/** The clinician: finds a patient by a misspelt name and reads the timeline. */
import { Findings, queryCommandLine, type AskedQuestion, type Asking } from './question.js';
import { STORY } from './story.js';

interface Found {
  readonly at: {
    readonly search: {
      readonly nodes: readonly {
        readonly patient: {
          readonly id: string;
          readonly names: readonly { readonly family: string | null; readonly given: readonly string[] }[];
          readonly identifiers: readonly { readonly authority: string | null; readonly value: string }[];
          readonly timeline: {
            readonly nodes: readonly { readonly at: string; readonly kind: string; readonly title: string }[];
          };
        };
      }[];
    } | null;
  };
}

export async function askAsClinician({ hub, flags }: Asking): Promise<AskedQuestion> {
  const findings = new Findings();
  // One letter is missing.
  const misspelt = `${STORY.family.replace('f', '')} ${STORY.given}`;
  const query = `{ at { search(text: "${misspelt}", kinds: [PATIENT], first: 3) { nodes { patient {
    id names { family given } identifiers { authority value }
    timeline(newestFirst: false) { nodes { at kind title } } } } } } }`;
  const { search } = (await hub.data<Found>('clinical', query)).at;
  const patient = search?.nodes[0]?.patient;
  const entries = patient?.timeline.nodes ?? [];
  findings.expect(
    patient?.identifiers.some(({ authority, value }) => authority === STORY.authority && value === STORY.identifier) ===
      true,
    'the patient was not found first',
  );
  findings.expect(
    entries.some(({ kind }) => kind === 'ENCOUNTER'),
    'the stay is not on the timeline',
  );
  findings.expect(
    entries.some(({ kind, title }) => kind === 'OBSERVATION' && title.includes('otassium')),
    'the result is not on the timeline',
  );
  const name = patient?.names[0];
  return {
    who: 'clinician',
    question: `Who is "${misspelt}", and what happened to them?`,
    answer: [
      `${name?.given.join(' ') ?? ''} ${name?.family ?? ''} (${patient?.identifiers.map(({ authority, value }) => `${authority ?? ''} ${value}`).join(', ') ?? ''})`,
      ...entries.map(({ at, kind, title }) => `${at.slice(0, 16).replace('T', ' ')}  ${kind.toLowerCase()}  ${title}`),
    ],
    again: queryCommandLine(query, 'clinician', flags),
    wrong: findings.wrong,
  };
}
