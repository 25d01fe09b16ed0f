using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>A request of the contract, read and found right in form.</summary>
/// <param name="Request">In the form that the worker's own handlers take.</param>
/// <param name="Text">What of it is text; null for nothing.</param>
internal sealed record GatewayRequest(PreprocessedRequest Request, EngineText? Text);
