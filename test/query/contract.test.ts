import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  buildClientSchema,
  buildSchema,
  getIntrospectionQuery,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  isTypeSubTypeOf,
  parseType,
  print,
  typeFromAST,
  type GraphQLSchema,
  type IntrospectionQuery,
} from 'graphql';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Patient, QueryAtArguments } from '../../schema/clinical.types.js';
import { clinicalSchema } from '../../src/query/graph/graph.module.js';
import { TestHub } from './support.js';

let hub: TestHub;
let served: GraphQLSchema;
beforeAll(async () => {
  hub = await TestHub.start();
  served = buildClientSchema(await hub.data<IntrospectionQuery>(getIntrospectionQuery()));
});
afterAll(async () => {
  await hub.stop();
});

/** What `narrower` promises that `wider` does not keep. */
function broken(promised: GraphQLSchema, kept: GraphQLSchema): string[] {
  const problems: string[] = [];
  for (const [name, type] of Object.entries(promised.getTypeMap())) {
    if (name.startsWith('__')) continue;
    const other = kept.getType(name);
    if (other === undefined || other.constructor !== type.constructor) {
      problems.push(name);
      continue;
    }
    if (isEnumType(type) && isEnumType(other)) {
      for (const { name: value } of type.getValues())
        if (other.getValue(value) === undefined) problems.push(`${name}.${value}`);
    }
    if (isInputObjectType(type) && isInputObjectType(other)) {
      for (const field of Object.values(type.getFields())) {
        if (String(other.getFields()[field.name]?.type) !== String(field.type)) problems.push(`${name}.${field.name}`);
      }
    }
    if ((isObjectType(type) && isObjectType(other)) || (isInterfaceType(type) && isInterfaceType(other))) {
      for (const field of Object.values(type.getFields())) {
        const found = other.getFields()[field.name];
        const wanted = typeFromAST(kept, parseType(String(field.type)) as never);
        if (found === undefined || wanted === undefined || !isTypeSubTypeOf(kept, found.type, wanted as never)) {
          problems.push(`${name}.${field.name}`);
          continue;
        }
        for (const argument of field.args) {
          const own = found.args.find((candidate) => candidate.name === argument.name);
          if (
            own === undefined ||
            String(own.type) !== String(argument.type) ||
            own.defaultValue !== argument.defaultValue
          ) {
            problems.push(`${name}.${field.name}(${argument.name})`);
          }
        }
        for (const argument of found.args) {
          const isNew = !field.args.some((candidate) => candidate.name === argument.name);
          if (isNew && String(argument.type).endsWith('!'))
            problems.push(`${name}.${field.name}(${argument.name}) is new and required`);
        }
      }
    }
  }
  return problems;
}

describe('the schema that is served', () => {
  it('holds everything of the contract, nothing renamed or narrowed', () => {
    expect(broken(buildSchema(clinicalSchema()), served)).toEqual([]);
  });

  const contract = path.resolve(process.env['ANAMNESIS_SHARED_DATA'] ?? '../shared/data', '../design/clinical.graphql');
  it('holds everything of the published contract, where that is at hand', () => {
    let text: string;
    try {
      text = readFileSync(contract, 'utf8');
    } catch {
      console.warn(`not compared with ${path.basename(contract)}: it is not beside this project`);
      return;
    }
    expect(broken(buildSchema(text), served)).toEqual([]);
  });

  it('would be found narrowed', () => {
    const narrowed = buildSchema(clinicalSchema().replace('isDeceased: Boolean', 'isDead: Boolean'));
    expect(broken(served, narrowed)).toEqual(['Patient.isDeceased']);
  });

  it('has its types for clients beside it, current and fit to use', async () => {
    const script = path.resolve(import.meta.dirname, '../../scripts/client-types.mjs');
    const { clientTypes } = (await import(script)) as { clientTypes: (sdl: string) => string };
    const kept = readFileSync(path.resolve(import.meta.dirname, '../../schema/clinical.types.ts'), 'utf8');
    expect(clientTypes(clinicalSchema())).toBe(kept);
    // The compiler holds these to the schema.
    const asked: QueryAtArguments = { position: '7' };
    const shown: Pick<Patient, 'id' | 'sex'> = { id: 'x', sex: 'FEMALE' };
    expect([asked.position, shown.sex]).toEqual(['7', 'FEMALE']);
  });

  it('describes every type and field', () => {
    const bare: string[] = [];
    for (const [name, type] of Object.entries(served.getTypeMap())) {
      if (name.startsWith('__') || ['String', 'Int', 'Float', 'Boolean', 'ID'].includes(name)) continue;
      if (!type.description) bare.push(name);
      if (isObjectType(type) || isInterfaceType(type) || isInputObjectType(type)) {
        const fields: readonly { name: string; description?: string | null }[] = Object.values(type.getFields());
        for (const field of fields) if (!field.description) bare.push(`${name}.${field.name}`);
      }
      if (isEnumType(type))
        for (const value of type.getValues()) if (!value.description) bare.push(`${name}.${value.name}`);
    }
    expect(bare).toEqual([]);
    expect(print(parseType('[Int!]'))).toBe('[Int!]');
  });
});

describe('limits', () => {
  async function code(query: string): Promise<unknown> {
    const { errors } = await hub.ask(query);
    return errors?.[0]?.extensions['code'];
  }

  it('refuses a query that is too deep', async () => {
    const deep =
      '{ at { patients { nodes { meta { message { patient { meta { message { patient { meta { message { patient { meta { message { patient { id } } } } } } } } } } } } } } } }';
    expect(await code(deep)).toBe('QUERY_TOO_COMPLEX');
  });

  it('refuses a query that may ask for too many nodes, whether through edges or nodes', async () => {
    expect(await code('{ at { patients(first: 1000) { nodes { encounters(first: 200) { nodes { id } } } } } }')).toBe(
      'QUERY_TOO_COMPLEX',
    );
    expect(
      await code(
        '{ at { patients(first: 1000) { edges { node { encounters(first: 200) { edges { node { id } } } } } } } }',
      ),
    ).toBe('QUERY_TOO_COMPLEX');
    expect(
      await code(
        'query ($n: Int) { at { patients(first: 1000) { nodes { encounters(first: $n) { nodes { id } } } } } }',
      ),
    ).toBeUndefined();
  });

  it('counts edges and nodes once', async () => {
    const page =
      'patients(first: 900) { edges { node { encounters { nodes { id } } } } nodes { encounters { nodes { id } } } }';
    expect(await code(`{ at { ${page} } }`)).toBeUndefined();
  });

  it('refuses a page larger than the most', async () => {
    expect(await code('{ at { patients(first: 1001) { nodes { id } } } }')).toBe('BAD_USER_INPUT');
  });
});
