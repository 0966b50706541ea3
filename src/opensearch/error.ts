/** No answer, or one that is an error. The word says which, without content: a status and OpenSearch's own name of the error. */
export class OpenSearchError extends Error {
  readonly code = 'OPENSEARCH';
  constructor(
    readonly word: string,
    /** Undefined where there was no answer. */
    readonly status?: number,
  ) {
    super(`OpenSearch: ${word}`);
  }
}
