/**
 * Messages → facts. Pure: the same content and context give the same facts, whenever and however often they are mapped.
 * HL7 v2 and FHIR follow HL7's v2-to-FHIR implementation guide; docs/time.md has the tables of slots and of valid time.
 */
import type { MessageContent } from './content.js';
import type { MappingContext, MappingOptions } from './context.js';
import { mapEvent } from './events/index.js';
import type { Mapped } from './fact.js';
import { mapFhir } from './fhir/index.js';
import { mapHl7 } from './hl7v2/index.js';
import { rulesOf } from './rules.js';

export type { MappingContext, MappingOptions } from './context.js';

/** Of a message that says nothing about anyone. */
export const NOTHING_MAPPED: Mapped = { facts: [], notes: [], unmapped: [] };

/**
 * @param content a message as its reader gave it
 * @param context who it is about and how to read its times; without a source record nothing is asserted
 * @param options `rules: true` adds which rule wrote which path
 * @throws MappingError never for odd content, which becomes `unmapped`; reserved for content that cannot be applied at all
 */
export function mapMessage(content: MessageContent, context: MappingContext, options: MappingOptions = {}): Mapped {
  const mapped = mapContent(content, context);
  const said = context.codes === undefined ? mapped : context.codes.apply(mapped);
  if (options.rules !== true) return said;
  return { ...said, rules: rulesOf(content, said.facts) };
}

function mapContent(content: MessageContent, context: MappingContext): Mapped {
  switch (content.kind) {
    case 'hl7v2':
      return mapHl7(content.message, context);
    case 'fhir':
      return mapFhir(content.resource, { ...context, records: { ...context.records, ...content.records } }, content);
    case 'event':
      return mapEvent(content.event, context);
    case 'other':
      return NOTHING_MAPPED;
  }
}
