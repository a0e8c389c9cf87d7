const base = require('@jupyterlab/testutils/lib/jest-config')(__dirname);

module.exports = { ...base, reporters: ['default'] };
