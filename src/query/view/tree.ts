/** A message as a tree to look at: segments and fields of HL7 v2, or the JSON itself. */
import type { Hl7Message, Hl7Segment } from '../../inbound/hl7/message.js';
import type { MessageContent } from '../../mapping/content.js';
import type { Json } from '../../mapping/fact.js';

/** `null` where the content has no structure the hub knows. */
export function contentTree(content: MessageContent, bytes: Buffer): Json {
  switch (content.kind) {
    case 'hl7v2':
      return hl7Tree(content.message);
    case 'fhir':
    case 'event':
      return jsonOf(bytes);
    case 'other':
      return null;
  }
}

function jsonOf(bytes: Buffer): Json {
  try {
    return JSON.parse(bytes.toString('utf8').replace(/^\uFEFF/, '')) as Json;
  } catch {
    return null;
  }
}

/** One object a segment: its name, byte offset and fields; a field that is plain text is text, others are nested lists. */
function hl7Tree(message: Hl7Message): Json {
  return message.segments.map((segment) => {
    const fields: { [name: string]: Json } = {};
    for (let field = 1; field <= segment.fieldCount; field += 1) {
      const value = fieldTree(segment, field);
      if (value !== undefined) fields[`${segment.name}-${field}`] = value;
    }
    return { segment: segment.name, byteOffset: segment.byteOffset, fields };
  });
}

function fieldTree(segment: Hl7Segment, field: number): Json | undefined {
  if (segment.isNull(field)) return '""';
  const count = segment.repetitions(field);
  if (count === 0) return undefined;
  const repetitions: Json[] = [];
  for (let repetition = 1; repetition <= count; repetition += 1) {
    const components: Json[] = [];
    for (let component = 1; component <= segment.components(field, repetition); component += 1) {
      const parts = segment.subcomponents(field, repetition, component);
      const texts: Json[] = [];
      for (let part = 1; part <= parts; part += 1) texts.push(segment.text(field, repetition, component, part));
      components.push(texts.length > 1 ? texts : (texts[0] ?? ''));
    }
    repetitions.push(components.length === 1 ? (components[0] as Json) : components);
  }
  return repetitions.length === 1 ? repetitions[0] : repetitions;
}
