import neostandard, { plugins, resolveIgnoresFromGitignore } from 'neostandard'

const typescript = plugins['typescript-eslint']

// docs/architecture.md: a room may import from the floors below it, never upwards.
const above = {
  native: ['runtime', 'events', 'supervisor', 'routes'],
  schemas: ['native', 'runtime', 'events', 'supervisor', 'routes'],
  runtime: ['events', 'supervisor', 'routes'],
  events: ['runtime', 'native', 'supervisor', 'routes'],
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
  ...neostandard({ ts: true, noJsx: true, ignores: [...resolveIgnoresFromGitignore(), '**/generated/**'] }),
  {
    files: ['**/*.ts'],
    plugins: { '@typescript-eslint': typescript.plugin },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // A promise that nobody waits for is an error that nobody hears of.
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }]
    }
  },
  {
    files: ['test/**/*.ts'],
    // tap's t.test() gives a promise that tap itself waits for.
    rules: { '@typescript-eslint/no-floating-promises': 'off' }
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      // The event loop carries every container: nothing in the daemon may block it.
      'n/no-sync': 'error',
      'max-lines': ['error', 350]
    }
  },
  ...floors
]
