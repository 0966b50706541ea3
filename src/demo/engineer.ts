/** The engineer: rebuilds a projection from the log, verified, and sees that an old answer stays the same to the byte. */
import { rebuildProjection, type RebuildProgress } from '../cli/commands/projections.js';
import { Findings, type AskedQuestion, type Asking } from './question.js';
import { STORY } from './story.js';

interface Basis {
  readonly at: { readonly basis: { readonly token: string } };
}

const CHART = `query ($basis: String!) { at(basis: $basis) { patientByIdentifier(authority: "${STORY.authority}", value: "${STORY.identifier}") {
  id resource history { nodes { operation changes { path before after } meta { position recordedAt } } }
  encounters { nodes { id resource } } observations { nodes { id resource meta { position } } }
  timeline { nodes { at kind title message { id } } } } } }`;

export async function askAsEngineer({ hub, flags }: Asking, progress?: RebuildProgress): Promise<AskedQuestion> {
  const findings = new Findings();
  const { token } = (await hub.data<Basis>('clinical', '{ at { basis { token } } }')).at.basis;
  const before = JSON.stringify(await hub.data('clinical', CHART, { basis: token }));
  const started = performance.now();
  const rebuilt = await rebuildProjection(hub, 'master', { verify: true }, progress);
  const seconds = (performance.now() - started) / 1000;
  const after = JSON.stringify(await hub.data('clinical', CHART, { basis: token }));
  findings.expect(before.includes(STORY.newFamily), 'the chart is not the one that was sent');
  findings.expect(after === before, 'the same basis gives another answer after the rebuild');
  findings.expect(rebuilt.rebuild?.verified === true, 'the rebuild was not verified');
  return {
    who: 'engineer',
    question: 'Does the master store come out of the log again as it was?',
    answer: [
      `rebuilt from position 0 and ${rebuilt.rebuild?.verified === true ? 'verified' : 'NOT verified'} in ${seconds.toFixed(1)} s; version ${rebuilt.version} serves`,
      after === before
        ? `an answer on an old basis is the same to the byte (${before.length} characters)`
        : 'an answer on an old basis has changed',
    ],
    again: `npx anamnesis projections rebuild master --verify${flags}`,
    wrong: findings.wrong,
  };
}
