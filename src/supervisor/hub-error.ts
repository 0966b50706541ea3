/** A start or run of the hub that cannot go on. The message is for the person who started it, and holds no secret. */
export class HubError extends Error {
  constructor(
    readonly code:
      | 'DATA_DIRECTORY_IN_USE'
      | 'DATA_DIRECTORY_FORMAT'
      | 'DATA_DIRECTORY_UNUSABLE'
      | 'POSTGRES_LEFT_BEHIND'
      | 'POSTGRES_UNAVAILABLE'
      | 'ROLE_FAILED'
      /** The list of erasures cannot be read or is not as it was written. */
      | 'ERASURE_LIST'
      /** Asked to stop before it was ready. */
      | 'STOPPED',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
