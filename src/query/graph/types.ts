/** Enum values of schema/clinical.graphql that code names. */
export type Operation = 'ASSERTED' | 'CORRECTED' | 'ENDED' | 'RETRACTED' | 'MOVED';
export type MessageStatus =
  'APPLIED' | 'PARKED' | 'WAITING' | 'CORRECTED' | 'REPLAYED' | 'DISCARDED' | 'ERASED' | 'PENDING';
export type ProjectionState = 'LIVE' | 'CATCHING_UP' | 'REBUILDING' | 'PAUSED' | 'STOPPED';
