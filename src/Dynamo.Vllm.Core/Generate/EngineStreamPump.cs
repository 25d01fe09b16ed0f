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

    /// <summary>
    /// The engine ends a request by itself when it is put to sleep or paused. To a client that end would look like a complete answer: the
    /// error tells it the truth, and lets the frontend continue the request elsewhere.
    /// </summary>
    /// <exception cref="RequestFailedException">Nobody here asked for the end.</exception>
    public static void RefuseAbort(RequestContext context, EngineOutput output)
    {
        if (output.Finish == FinishReason.Abort && !context.Cancelled.IsCancellationRequested)
        {
            throw new RequestFailedException(
                DynamoError.EngineShutdown("The engine ended the request before it was complete: it was put to sleep, or paused.")
            );
        }
    }
}
