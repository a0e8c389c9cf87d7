const base = require('@jupyterlab/testutils/lib/jest-config')(__dirname);

// Packages that ship ES modules, which Jest must translate first.
const esModules = [
  '@codemirror',
  '@jupyter',
  '@jupyterlab',
  '@marijn',
  '@microsoft',
  'color',
  'exenv-es6',
  'lib0',
  'marked',
  'nanoid',
  'vscode-ws-jsonrpc',
  'y-protocols',
  'yjs'
].join('|');

module.exports = {
  ...base,
  reporters: ['default'],
  transformIgnorePatterns: [`/node_modules/(?!(${esModules})).+`]
};
