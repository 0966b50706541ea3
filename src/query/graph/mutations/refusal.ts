/** What stops a change, as the graph says it (API.md §4). */
import { WriterUnavailableError } from '../../../log/writer-mailbox.js';
import { GraphError, type GraphErrorCode } from '../../errors.js';

/** Codes of the hub's own errors, thrown here or by the writer, that mean something to who asked; their messages hold no content. */
const MEANINGS: ReadonlyMap<string, GraphErrorCode> = new Map([
  ['CONFLICT', 'CONFLICT'],
  ['BAD_USER_INPUT', 'BAD_USER_INPUT'],
  ['BAD_SOURCE_SETTINGS', 'BAD_USER_INPUT'],
  ['UNKNOWN_SOURCE', 'BAD_USER_INPUT'],
  ['UNKNOWN_PROJECTION', 'BAD_USER_INPUT'],
  ['NOT_FOUND', 'NOT_FOUND'],
  ['ERASED', 'ERASED'],
  ['MASTER_KEY', 'CONFLICT'],
  ['LOG_UNAVAILABLE', 'WRITER_UNAVAILABLE'],
  ['LETTERS_BEHIND', 'WRITER_UNAVAILABLE'],
]);

/** The same failure with its code of the graph; what the graph has no code for is thrown as it is. */
export function refusalOf(error: unknown): unknown {
  if (error instanceof GraphError || !(error instanceof Error)) return error;
  if (error instanceof WriterUnavailableError) {
    return new GraphError('WRITER_UNAVAILABLE', error.message, { outcome: error.outcome });
  }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const meaning = MEANINGS.get(code);
  return meaning === undefined ? error : new GraphError(meaning, error.message);
}

/** Runs a change; whatever stops it comes out as {@link refusalOf} says. */
export async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw refusalOf(error);
  }
}
