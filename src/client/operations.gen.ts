// Made by `make openapi` from openapi.yaml, sha256 2bc6f6d7da8f84c8b3bc12414cf50fa7a0bcac370d90779c243b3c787ea93b38
// Made by `make openapi` from openapi.yaml, sha256 453c1fd8fd62b3bbf7c55fb14af73588d1222b20a38c31f9796657f96c1473cd

import type * as types from './types.gen.ts'

export const operations = {
  createContainer: { method: 'POST', path: '/containers' },
  listContainers: { method: 'GET', path: '/containers' },
  getContainer: { method: 'GET', path: '/containers/{id}' },
  deleteContainer: { method: 'DELETE', path: '/containers/{id}' },
  updateContainer: { method: 'PATCH', path: '/containers/{id}' },
  startContainer: { method: 'POST', path: '/containers/{id}/start' },
  signalContainer: { method: 'POST', path: '/containers/{id}/signal' },
  stopContainer: { method: 'POST', path: '/containers/{id}/stop' },
  execProcess: { method: 'POST', path: '/containers/{id}/processes' },
  listProcesses: { method: 'GET', path: '/containers/{id}/processes' },
  getProcess: { method: 'GET', path: '/containers/{id}/processes/{pid}' },
  deleteProcess: { method: 'DELETE', path: '/containers/{id}/processes/{pid}' },
  signalProcess: { method: 'POST', path: '/containers/{id}/processes/{pid}/signal' },
  resizeProcess: { method: 'POST', path: '/containers/{id}/processes/{pid}/resize' },
  closeProcessInput: { method: 'POST', path: '/containers/{id}/processes/{pid}/close-stdin' },
  waitProcess: { method: 'GET', path: '/containers/{id}/processes/{pid}/wait' },
  waitContainer: { method: 'GET', path: '/containers/{id}/wait' },
  pauseContainer: { method: 'POST', path: '/containers/{id}/pause' },
  resumeContainer: { method: 'POST', path: '/containers/{id}/resume' },
  getContainerStats: { method: 'GET', path: '/containers/{id}/stats' },
  listStats: { method: 'GET', path: '/stats' },
  listContainerPids: { method: 'GET', path: '/containers/{id}/top' },
  createCheckpoint: { method: 'POST', path: '/containers/{id}/checkpoints' },
  listCheckpoints: { method: 'GET', path: '/containers/{id}/checkpoints' },
  getCheckpoint: { method: 'GET', path: '/containers/{id}/checkpoints/{name}' },
  deleteCheckpoint: { method: 'DELETE', path: '/containers/{id}/checkpoints/{name}' },
  setRestartPolicy: { method: 'PUT', path: '/containers/{id}/restart-policy' },
  renewLease: { method: 'POST', path: '/containers/{id}/lease' },
  streamEvents: { method: 'GET', path: '/events' },
  streamContainerEvents: { method: 'GET', path: '/containers/{id}/events' },
  containerLogs: { method: 'GET', path: '/containers/{id}/logs' },
  processLogs: { method: 'GET', path: '/containers/{id}/processes/{pid}/logs' },
  listTasks: { method: 'GET', path: '/tasks' },
  getTask: { method: 'GET', path: '/tasks/{id}' },
  createSession: { method: 'POST', path: '/session' },
  getSession: { method: 'GET', path: '/session' },
  deleteSession: { method: 'DELETE', path: '/session' },
  getInfo: { method: 'GET', path: '/info' },
  getVersion: { method: 'GET', path: '/version' },
  getHealth: { method: 'GET', path: '/healthz' },
  getReady: { method: 'GET', path: '/readyz' },
  getMetrics: { method: 'GET', path: '/metrics' },
  getOpenapiJson: { method: 'GET', path: '/openapi.json' },
  getOpenapiYaml: { method: 'GET', path: '/openapi.yaml' }
} as const

export type Operations = {
  createContainer: { data: types.CreateContainerData, responses: types.CreateContainerResponses }
  listContainers: { data: types.ListContainersData, responses: types.ListContainersResponses }
  getContainer: { data: types.GetContainerData, responses: types.GetContainerResponses }
  deleteContainer: { data: types.DeleteContainerData, responses: types.DeleteContainerResponses }
  updateContainer: { data: types.UpdateContainerData, responses: types.UpdateContainerResponses }
  startContainer: { data: types.StartContainerData, responses: types.StartContainerResponses }
  signalContainer: { data: types.SignalContainerData, responses: types.SignalContainerResponses }
  stopContainer: { data: types.StopContainerData, responses: types.StopContainerResponses }
  execProcess: { data: types.ExecProcessData, responses: types.ExecProcessResponses }
  listProcesses: { data: types.ListProcessesData, responses: types.ListProcessesResponses }
  getProcess: { data: types.GetProcessData, responses: types.GetProcessResponses }
  deleteProcess: { data: types.DeleteProcessData, responses: types.DeleteProcessResponses }
  signalProcess: { data: types.SignalProcessData, responses: types.SignalProcessResponses }
  resizeProcess: { data: types.ResizeProcessData, responses: types.ResizeProcessResponses }
  closeProcessInput: { data: types.CloseProcessInputData, responses: types.CloseProcessInputResponses }
  waitProcess: { data: types.WaitProcessData, responses: types.WaitProcessResponses }
  waitContainer: { data: types.WaitContainerData, responses: types.WaitContainerResponses }
  pauseContainer: { data: types.PauseContainerData, responses: types.PauseContainerResponses }
  resumeContainer: { data: types.ResumeContainerData, responses: types.ResumeContainerResponses }
  getContainerStats: { data: types.GetContainerStatsData, responses: types.GetContainerStatsResponses }
  listStats: { data: types.ListStatsData, responses: types.ListStatsResponses }
  listContainerPids: { data: types.ListContainerPidsData, responses: types.ListContainerPidsResponses }
  createCheckpoint: { data: types.CreateCheckpointData, responses: types.CreateCheckpointResponses }
  listCheckpoints: { data: types.ListCheckpointsData, responses: types.ListCheckpointsResponses }
  getCheckpoint: { data: types.GetCheckpointData, responses: types.GetCheckpointResponses }
  deleteCheckpoint: { data: types.DeleteCheckpointData, responses: types.DeleteCheckpointResponses }
  setRestartPolicy: { data: types.SetRestartPolicyData, responses: types.SetRestartPolicyResponses }
  renewLease: { data: types.RenewLeaseData, responses: types.RenewLeaseResponses }
  streamEvents: { data: types.StreamEventsData, responses: types.StreamEventsResponses }
  streamContainerEvents: { data: types.StreamContainerEventsData, responses: types.StreamContainerEventsResponses }
  containerLogs: { data: types.ContainerLogsData, responses: types.ContainerLogsResponses }
  processLogs: { data: types.ProcessLogsData, responses: types.ProcessLogsResponses }
  listTasks: { data: types.ListTasksData, responses: types.ListTasksResponses }
  getTask: { data: types.GetTaskData, responses: types.GetTaskResponses }
  createSession: { data: types.CreateSessionData, responses: types.CreateSessionResponses }
  getSession: { data: types.GetSessionData, responses: types.GetSessionResponses }
  deleteSession: { data: types.DeleteSessionData, responses: types.DeleteSessionResponses }
  getInfo: { data: types.GetInfoData, responses: types.GetInfoResponses }
  getVersion: { data: types.GetVersionData, responses: types.GetVersionResponses }
  getHealth: { data: types.GetHealthData, responses: types.GetHealthResponses }
  getReady: { data: types.GetReadyData, responses: types.GetReadyResponses }
  getMetrics: { data: types.GetMetricsData, responses: types.GetMetricsResponses }
  getOpenapiJson: { data: types.GetOpenapiJsonData, responses: types.GetOpenapiJsonResponses }
  getOpenapiYaml: { data: types.GetOpenapiYamlData, responses: types.GetOpenapiYamlResponses }
}
