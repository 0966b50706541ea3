/** Errors of the graph: stable codes (API.md §4), never content of a message. */
import { GraphQLError } from 'graphql';

export type GraphErrorCode =
  | 'BAD_USER_INPUT'
  | 'BEYOND_WATERMARK'
  | 'BEFORE_LOG'
  | 'UNKNOWN_BASIS'
  | 'QUERY_TOO_COMPLEX'
  | 'CONFLICT'
  | 'WRITER_UNAVAILABLE'
  | 'FORBIDDEN'
  | 'UNAUTHENTICATED'
  | 'ERASED'
  | 'NOT_FOUND'
  | 'NOT_AVAILABLE'
  | 'SEARCH_UNAVAILABLE'
  | 'UNAVAILABLE';

/** An error that a client may see: its message and extensions hold codes, times and positions only. */
export class GraphError extends GraphQLError {
  constructor(code: GraphErrorCode, message: string, extensions: Readonly<Record<string, unknown>> = {}) {
    super(message, { extensions: { ...extensions, code } });
  }
}
