/**
 * The rules that class-validator's decorators state of a class, as one function that says yes or no. class-validator looks its rules up and makes an
 * error for every member anew with each object, also where nothing is wrong; what is wrong is still for it to say.
 */
import { getMetadataStorage, ValidationTypes, type ValidatorConstraintInterface } from 'class-validator';

type Check = (object: object, value: unknown) => boolean;
type Rules = ReturnType<ReturnType<typeof getMetadataStorage>['getTargetValidationMetadatas']>;
type Rule = Rules[number];
type Form = new () => object;

/**
 * Compiles the form of a class, and of those of its nested objects.
 * @param nested classes that objects of the form are made of
 * @returns whether `validateSync` (without options, unknown objects allowed) finds nothing wrong; asks exactly the validators that it asks
 * @throws where a rule is of a kind that this does not know
 */
export function compileForm<T extends object>(form: new () => T, nested: readonly Form[] = []): (object: T) => boolean {
  const checks = new Map<unknown, (object: object) => boolean>();
  const known = (value: object): boolean => checks.get(value.constructor)?.(value) ?? true;
  for (const one of [form, ...nested]) checks.set(one, compileClass(one, known));
  return known;
}

function compileClass(form: Form, known: (value: object) => boolean): (object: object) => boolean {
  const storage = getMetadataStorage();
  const rules = storage.getTargetValidationMetadatas(form, '', false, false);
  const members = Object.entries(storage.groupByPropertyName(rules)).map(([name, ofMember]) => ({
    name,
    applies: ofMember.filter(({ type }) => type === ValidationTypes.CONDITIONAL_VALIDATION).map(conditionOf),
    checks: ofMember
      .filter(({ type }) => type !== ValidationTypes.CONDITIONAL_VALIDATION)
      .flatMap((rule) => checksOf(rule, known)),
  }));
  return (object) => {
    for (const { name, applies, checks } of members) {
      const value = (object as Readonly<Record<string, unknown>>)[name];
      let asked = true;
      for (const condition of applies) asked = condition(object, value) && asked;
      if (!asked) continue;
      for (const check of checks) if (!check(object, value)) return false;
    }
    return true;
  };
}

function conditionOf({ constraints }: Rule): Check {
  return constraints[0] as Check;
}

function checksOf(rule: Rule, known: (value: object) => boolean): Check[] {
  if (rule.validateIf !== undefined || (rule.groups?.length ?? 0) > 0) throw unknownRule();
  if (rule.type === ValidationTypes.NESTED_VALIDATION) return [(_object, value) => isNestedWell(value, known)];
  if (rule.type !== ValidationTypes.CUSTOM_VALIDATION) throw unknownRule();
  return getMetadataStorage()
    .getTargetValidatorConstraints(rule.constraintCls)
    .map(({ instance, async }) => {
      if (async) throw unknownRule();
      return customCheck(rule, instance);
    });
}

function customCheck(rule: Rule, validator: ValidatorConstraintInterface): Check {
  const { constraints, propertyName: property, each } = rule;
  return (object, value) => {
    const about = { targetName: object.constructor.name, property, object, value, constraints };
    if (!each || !Array.isArray(value)) return validator.validate(value, about) === true;
    for (const one of value as readonly unknown[]) if (validator.validate(one, about) !== true) return false;
    return true;
  };
}

function isNestedWell(value: unknown, known: (value: object) => boolean): boolean {
  if (value === undefined) return true;
  if (Array.isArray(value)) return value.every((one) => isNestedWell(one, known));
  return value instanceof Object && known(value);
}

function unknownRule(): Error {
  return new Error('a rule of a form is of a kind that is not compiled');
}
