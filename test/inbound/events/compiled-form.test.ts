import { expect, it } from '@jest/globals';
import {
  ArrayMaxSize,
  IsArray,
  IsNotEmpty,
  IsObject,
  IsOptional,
  IsString,
  Matches,
  MaxLength,
  ValidateIf,
  ValidateNested,
  ValidatePromise,
  registerDecorator,
  validateSync,
} from 'class-validator';
import fc from 'fast-check';
import { compileForm } from '../../../src/inbound/events/compiled-form.js';

const IsEven = () => (object: object, propertyName: string) =>
  registerDecorator({
    name: 'isEven',
    target: object.constructor,
    propertyName,
    validator: { validate: (value: unknown) => typeof value === 'number' && value % 2 === 0 },
  });

class Inner {
  @IsString() @IsNotEmpty() @MaxLength(3) text?: unknown;
  @IsOptional() @IsEven() even?: unknown;
}

class Outer {
  @IsString() @Matches(/^\S+$/) id?: unknown;
  @IsOptional() @IsArray() @ArrayMaxSize(2) @IsString({ each: true }) @MaxLength(3, { each: true }) texts?: unknown;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) many?: unknown;
  @IsOptional() @IsObject() @ValidateNested() one?: unknown;
  @ValidateIf((object: Outer) => object.id === 'strict') @IsObject() data?: unknown;
}

const some = fc.oneof(fc.constantFrom(undefined, null, '', 'a', 'a b', 'abcd', 2, 3, 'strict', true), fc.jsonValue());
/** Mostly what is well, so that both answers come. */
const mostly = (well: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 12, arbitrary: well }, { weight: 1, arbitrary: some });
const inner = fc
  .record({ text: mostly(fc.constantFrom('a', 'abc')), even: mostly(fc.constantFrom(undefined, 2)) })
  .map((members) => Object.assign(new Inner(), members));
const outer = fc
  .record({
    id: mostly(fc.constantFrom('a', 'strict')),
    texts: mostly(fc.array(mostly(fc.constantFrom('', 'abc')), { maxLength: 3 })),
    many: mostly(fc.array(fc.oneof(mostly(inner), fc.array(mostly(inner), { maxLength: 2 })), { maxLength: 3 })),
    one: mostly(inner),
    data: mostly(fc.constant({})),
  })
  .map((members) => Object.assign(new Outer(), members));

it('a compiled form says yes exactly where class-validator finds nothing wrong', () => {
  const isWell = compileForm(Outer, [Inner]);
  const said = { yes: 0, no: 0 };
  fc.assert(
    fc.property(outer, (object) => {
      const wrong = validateSync(object, { forbidUnknownValues: false }).length > 0;
      said[wrong ? 'no' : 'yes'] += 1;
      expect(isWell(object)).toBe(!wrong);
    }),
    { numRuns: 3_000, seed: 7 },
  );
  expect(Math.min(said.yes, said.no)).toBeGreaterThan(100);
});

it('a form with a rule of a kind that is not compiled is refused when it is compiled', () => {
  class Promised {
    @ValidatePromise() later?: unknown;
  }
  expect(() => compileForm(Promised)).toThrow('not compiled');
});
