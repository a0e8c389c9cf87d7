// Writes src/api/protocol.ts from the OpenAPI document of the server; with --check it only tells whether that is current.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { format, resolveConfig } from 'prettier';

const path = name => fileURLToPath(new URL(name, import.meta.url));
const SOURCE = path('../jupyter_mlenv/server/openapi.json');
const TARGET = path('src/api/protocol.ts');
const { schemas } = JSON.parse(readFileSync(SOURCE, 'utf-8')).components;

/** An error object is no JavaScript `Error`. */
const nameOf = schema =>
  schema === 'Error'
    ? 'IErrorJSON'
    : schemas[schema].oneOf
      ? schema
      : `I${schema}`;

const comment = ({ description }) =>
  description ? `/** ${description} */\n` : '';

function typeOf(schema) {
  if (schema.$ref) {
    return nameOf(schema.$ref.split('/').pop());
  }
  if ('const' in schema) {
    return JSON.stringify(schema.const);
  }
  if (schema.enum) {
    return schema.enum.map(value => JSON.stringify(value)).join(' | ');
  }
  if (schema.oneOf) {
    return schema.oneOf.map(typeOf).join(' | ');
  }
  return [schema.type ?? 'unknown']
    .flat()
    .map(type => plain(type, schema))
    .join(' | ');
}

function plain(type, schema) {
  switch (type) {
    case 'integer':
      return 'number';
    case 'array':
      return `(${typeOf(schema.items)})[]`;
    case 'object':
      return schema.properties
        ? `{ ${fields(schema)} }`
        : `Record<string, ${schema.additionalProperties ? typeOf(schema.additionalProperties) : 'unknown'}>`;
    default:
      return type;
  }
}

function fields({ properties, required = [] }) {
  return Object.entries(properties)
    .map(
      ([name, schema]) =>
        `${comment(schema)}${name}${required.includes(name) ? '' : '?'}: ${typeOf(schema)};`
    )
    .join('\n');
}

const declarations = Object.entries(schemas).map(([name, schema]) =>
  schema.oneOf
    ? `${comment(schema)}export type ${nameOf(name)} = ${typeOf(schema)};`
    : `${comment(schema)}export interface ${nameOf(name)} { ${fields(schema)} }`
);
const text = [
  '/** The types of the REST API. Generated from openapi.json by `jlpm protocol`: do not edit. */',
  ...declarations
].join('\n\n');
const options = { ...(await resolveConfig(TARGET)), filepath: TARGET };
const formatted = await format(text, options);

if (!process.argv.includes('--check')) {
  writeFileSync(TARGET, formatted);
} else if (readFileSync(TARGET, 'utf-8') !== formatted) {
  console.error(
    'src/api/protocol.ts is not what openapi.json says. Run `jlpm protocol`.'
  );
  process.exit(1);
}
