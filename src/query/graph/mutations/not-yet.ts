/** Changes whose own capability is not there yet: refused with a code, never silently taken. */
import { GraphError } from '../../errors.js';

const NOT_YET = ['mergePatients', 'unmergePatients'] as const;

export const notYet = Object.fromEntries(
  NOT_YET.map((name) => [
    name,
    (): never => {
      throw new GraphError('NOT_AVAILABLE', `${name} is not available in this version`);
    },
  ]),
);
