using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>The life of an engine stream between its submission and its end.</summary>
internal static class EngineStreamPump
{
    /// <summary>Reads a stream to its end, handing each output to <paramref name="onOutput"/>.</summary>
    /// <param name="context">Cancels the stream.</param>
    /// <param name="stream">Just submitted.</param>
    /// <param name="guard">Decides when the engine may be told to stop.</param>
    /// <param name="onOutput">Writes the item; waits while the caller does not read. Not called once the caller is gone.</param>
    /// <param name="observe">Sees each output before that, also when nobody is left to write it to.</param>
    public static async Task RunAsync(
        RequestContext context,
        IEngineStream stream,
        AbortGuard guard,
        Func<EngineOutput, ValueTask> onOutput,
        Action<EngineOutput>? observe = null
    )
    {
        using var registration = context.Cancelled.UnsafeRegister(static state => ((AbortGuard)state!).RequestAbort(), guard);
        try
        {
            while (true)
            {
                EngineOutput? output;
                while (!stream.TryTake(out output))
                {
                    await stream.WaitAsync();
                }

                guard.ObserveOutput();
                context.Trace?.Observe(output);
                observe?.Invoke(output);
                if (!context.IsCallerGone)
                {
                    await onOutput(output);
                }

                if (output.IsLast)
                {
                    break;
                }
            }
        }
        finally
        {
            guard.ObserveEnd();
        }

        if (context.Cause == CancellationCause.Shutdown)
        {
            throw new RequestFailedException(DynamoError.EngineShutdown("Engine was shut down during generation."));
        }
    }
}
