/** Scalars of the clinical graph. */
import { GraphQLScalarType, Kind, valueFromASTUntyped } from 'graphql';
import { parseInstant } from '../basis/instant.js';
import { GraphError } from '../errors.js';

function badInput(what: string): GraphError {
  return new GraphError('BAD_USER_INPUT', what);
}

function readDateTime(value: unknown): string {
  const instant = typeof value === 'string' ? parseInstant(value) : undefined;
  if (instant === undefined) throw badInput('a DateTime is an RFC 3339 date-time with an offset');
  return instant;
}

export const DateTimeScalar = new GraphQLScalarType({
  name: 'DateTime',
  parseValue: readDateTime,
  parseLiteral: (node) => readDateTime(node.kind === Kind.STRING ? node.value : undefined),
  serialize: (value) => value,
});

export const PartialDateTimeScalar = new GraphQLScalarType({ name: 'PartialDateTime', serialize: (value) => value });

function readPosition(value: unknown): string {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || !/^\d{1,19}$/.test(text)) throw badInput('a Position is a decimal string');
  return text;
}

export const PositionScalar = new GraphQLScalarType({
  name: 'Position',
  parseValue: readPosition,
  parseLiteral: (node) => readPosition(node.kind === Kind.STRING || node.kind === Kind.INT ? node.value : undefined),
  serialize: (value) => String(value),
});

export const FhirResourceScalar = new GraphQLScalarType({ name: 'FhirResource', serialize: (value) => value });

export const JsonScalar = new GraphQLScalarType({
  name: 'JSON',
  serialize: (value) => value,
  parseValue: (value) => value,
  parseLiteral: (node, variables) => valueFromASTUntyped(node, variables),
});
