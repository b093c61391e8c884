export * from './common.ts'
export * from './container.ts'
export * from './event.ts'
export * from './system.ts'
