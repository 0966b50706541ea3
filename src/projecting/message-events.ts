/** What kind of event a type is. */

/** `inbound.*`, a message or a part of one. */
export function isInbound(type: string): boolean {
  return type.startsWith('inbound.');
}
