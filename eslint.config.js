import neostandard, { plugins, resolveIgnoresFromGitignore } from 'neostandard'

const typescript = plugins['typescript-eslint']

// docs/architecture.md: a room may import from the floors below it, never upwards.
const above = {
  native: ['runtime', 'events', 'supervisor', 'routes'],
  schemas: ['native', 'runtime', 'events', 'supervisor', 'routes'],
  runtime: ['events', 'supervisor', 'routes'],
  events: ['supervisor', 'routes'],
  supervisor: ['routes']
}

const floors = Object.entries(above).map(([room, rooms]) => ({
  files: [`src/${room}/**/*.ts`],
  rules: {
    'no-restricted-imports': ['error', {
      patterns: [{
        group: [...rooms.map((name) => `../**/${name}/**`), '../**/server.ts', '../**/config.ts', '../**/main.ts'],
        message: `${room}/ must not import from a higher floor (docs/architecture.md)`
      }]
    }]
  }
}))

export default [
  ...neostandard({ ts: true, noJsx: true, ignores: [...resolveIgnoresFromGitignore(), '**/generated/**', '**/*.gen.ts'] }),
  {
    rules: {
      // Short literals read better as the few lines of a table.
      '@stylistic/object-property-newline': 'off',
      // What is imported is in package.json, not there by another package's leave.
      'n/no-extraneous-import': 'error'
    }
  },
  {
    files: ['**/*.ts'],
    plugins: { '@typescript-eslint': typescript.plugin },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // A promise that nobody waits for is an error that nobody hears of; `void` marks one whose errors go elsewhere.
      'no-void': 'off',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      // A schema and the type inferred from it share a name; tsc tells of real collisions.
      '@typescript-eslint/no-redeclare': 'off',
      // The typed rule knows that AbortSignal.reason was checked; the plain one does not.
      'prefer-promise-reject-errors': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }]
    }
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // t.test() gives a promise that tap itself waits for.
      '@typescript-eslint/no-floating-promises': 'off',
      // A loop that awaits may well have its condition changed by a callback.
      'no-unmodified-loop-condition': 'off'
    }
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      // The event loop carries every container: nothing in the daemon may block it.
      'n/no-sync': 'error',
      'max-lines': ['error', 350]
    }
  },
  {
    // A worker thread has a loop of its own: being synchronous is what it is for.
    files: ['src/**/*-worker.ts'],
    rules: { 'n/no-sync': 'off' }
  },
  ...floors
]
