/** The graph's mutations: one resolver class per noun, each on the scaffolding of once.ts, refusal.ts and arguments.ts. */
import { KeyMutations } from './keys.js';
import { LetterMutations } from './letters.js';
import { ProjectionMutations } from './projections.js';
import { SourceMutations } from './sources.js';

export { notYet } from './not-yet.js';

export const MUTATIONS = [ProjectionMutations, SourceMutations, KeyMutations, LetterMutations];
