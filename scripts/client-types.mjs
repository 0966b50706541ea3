/**
 * TypeScript types of the clinical graph for clients: `node scripts/client-types.mjs`, and every build, writes schema/clinical.types.ts from
 * schema/clinical.graphql; with `--check` it fails where the file is not current.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import {
  buildSchema,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
} from 'graphql';

const ROOT = path.resolve(import.meta.dirname, '..');
const SDL = path.join(ROOT, 'schema/clinical.graphql');
const TYPES = path.join(ROOT, 'schema/clinical.types.ts');

/** What a scalar is in JSON. */
const SCALARS = {
  ID: 'string',
  String: 'string',
  Int: 'number',
  Float: 'number',
  Boolean: 'boolean',
  DateTime: 'string',
  PartialDateTime: 'string',
  Position: 'string',
  FhirResource: '{ readonly resourceType: string; readonly [element: string]: unknown }',
  JSON: 'unknown',
};

function typeText(type) {
  const inner = getNullableType(type);
  const text = isListType(inner) ? `ReadonlyArray<${typeText(inner.ofType)}>` : inner.name;
  return isNonNullType(type) ? text : `${text} | null`;
}

function comment(description, indent) {
  if (!description) return '';
  const lines = description.trim().replaceAll('*/', '*\\/').split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line.trim()}\n`).join('')}${indent} */\n`;
}

/** @param {string} sdl */
export function clientTypes(sdl) {
  const schema = buildSchema(sdl);
  const parts = [
    '/** Types of the clinical graph for clients, made from clinical.graphql by scripts/client-types.mjs. Not to be changed by hand. */\n',
  ];
  const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith('__'));
  for (const type of types.sort((left, right) => (left.name < right.name ? -1 : 1))) {
    const head = comment(type.description, '');
    if (isScalarType(type)) {
      if (['String', 'Boolean'].includes(type.name)) continue;
      const text = SCALARS[type.name];
      if (text === undefined) throw new Error(`scalar ${type.name} has no type for clients`);
      parts.push(`${head}export type ${type.name} = ${text};\n`);
    } else if (isEnumType(type)) {
      parts.push(
        `${head}export type ${type.name} = ${type
          .getValues()
          .map(({ name }) => `'${name}'`)
          .join(' | ')};\n`,
      );
    } else if (isInputObjectType(type)) {
      const fields = Object.values(type.getFields()).map(
        (field) =>
          `${comment(field.description, '  ')}  readonly ${field.name}${isNonNullType(field.type) ? '' : '?'}: ${typeText(field.type)};\n`,
      );
      parts.push(`${head}export interface ${type.name} {\n${fields.join('')}}\n`);
    } else if (isObjectType(type) || isInterfaceType(type)) {
      const parents = isObjectType(type) ? type.getInterfaces().map(({ name }) => name) : [];
      const fields = Object.values(type.getFields()).map(
        (field) => `${comment(field.description, '  ')}  readonly ${field.name}: ${typeText(field.type)};\n`,
      );
      parts.push(
        `${head}export interface ${type.name}${parents.length > 0 ? ` extends ${parents.join(', ')}` : ''} {\n${fields.join('')}}\n`,
      );
      for (const field of Object.values(type.getFields())) {
        if (field.args.length === 0) continue;
        const name = `${type.name}${field.name[0].toUpperCase()}${field.name.slice(1)}Arguments`;
        const args = field.args.map((argument) => {
          const optional = !isNonNullType(argument.type) || argument.defaultValue !== undefined;
          return `  readonly ${argument.name}${optional ? '?' : ''}: ${typeText(argument.type)};\n`;
        });
        parts.push(`/** Arguments of ${type.name}.${field.name}. */\nexport interface ${name} {\n${args.join('')}}\n`);
      }
    }
  }
  return parts
    .join('\n')
    .replaceAll(/\bString\b(?=[ ;>|])/g, 'string')
    .replaceAll(/\bBoolean\b(?=[ ;>|])/g, 'boolean');
}

if (process.argv[1] === import.meta.filename) {
  const text = clientTypes(readFileSync(SDL, 'utf8'));
  if (!process.argv.includes('--check')) writeFileSync(TYPES, text);
  else if (readFileSync(TYPES, 'utf8') !== text) {
    console.error('schema/clinical.types.ts is not current: node scripts/client-types.mjs');
    process.exitCode = 1;
  }
}
