using System.Globalization;
using System.Numerics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>Elastic expert parallelism: another number of data-parallel ranks, and what there is to grow into (behaviour.md, 5).</summary>
internal sealed class ElasticControl
{
    private readonly ControlCalls _calls;
    private readonly IEngineControl _engine;
    private readonly Action<string> _fail;
    private int _isScaling;

    /// <param name="calls">Where the calls are added.</param>
    /// <param name="engine">Has the ranks.</param>
    /// <param name="fail">Ends the worker, for the reason given.</param>
    public ElasticControl(ControlCalls calls, IEngineControl engine, Action<string> fail)
    {
        _calls = calls;
        _engine = engine;
        _fail = fail;
    }

    public void AddCalls()
    {
        _calls.Add("control/scale_elastic_ep", ScaleAsync);
        _calls.AddAny("control/ep_capacity", (_, cancellation) => _calls.AnswerAsync(() => ReadCapacityAsync(cancellation)));
    }

    private async Task<JsonObject> ScaleAsync(JsonObject body, CancellationToken cancellationToken)
    {
        if (body["new_data_parallel_size"] is not { } asked)
        {
            return ControlCalls.Failure("Missing required field: new_data_parallel_size");
        }

        if (ExactInteger(asked) is not { } size)
        {
            return ControlCalls.Failure($"new_data_parallel_size must be an integer, got: {PythonValues.Represent(asked)}");
        }

        if (size < 1)
        {
            return ControlCalls.Failure($"new_data_parallel_size must be >= 1, got: {size}");
        }

        _calls.RefuseWhileLeaving();
        var now = await _engine.ReadParallelismAsync(cancellationToken).ConfigureAwait(false);
        if (WhyNot(now, size) is { } problem)
        {
            return ControlCalls.Failure(problem);
        }

        if (Interlocked.Exchange(ref _isScaling, 1) == 1)
        {
            return ControlCalls.Failure(
                $"A scale_elastic_ep operation is already in progress; rejecting concurrent request for new_data_parallel_size={size}"
            );
        }

        try
        {
            await _engine.ScaleAsync((long)size, CancellationToken.None).ConfigureAwait(false);
            var done = ControlCalls.Success($"Scaled to data_parallel_size={size}");
            done["new_data_parallel_size"] = (long)size;
            return done;
        }
        catch (EngineCallException exception)
        {
            // vLLM takes nothing back: what is left has some of the old ranks and some of the new ones.
            _fail($"scaling to {size} data-parallel ranks failed: {exception.Message}");
            throw;
        }
        finally
        {
            Volatile.Write(ref _isScaling, 0);
        }
    }

    /// <summary>What must not reach the engine, since its failure ends the worker.</summary>
    private static string? WhyNot(JsonObject now, BigInteger size)
    {
        if (now["enable_elastic_ep"]?.GetValue<bool>() != true || now["data_parallel_backend"]?.GetValue<string>() != "ray")
        {
            return "elastic EP scaling is not enabled on this worker; it requires enable_elastic_ep=true and data_parallel_backend=ray";
        }

        if (now["prefill_context_parallel_size"]?.GetValue<long>() is > 1 and var context)
        {
            return "elastic EP scaling is not supported when prefill_context_parallel_size > 1 "
                + $"(got {context}); vLLM sizes the EP world as data_parallel_size * tensor_parallel_size and does not support "
                + "prefill-context parallelism alongside data parallelism";
        }

        var tensor = now["tensor_parallel_size"]!.GetValue<long>();
        if (tensor * size <= 1)
        {
            return "tensor_parallel_size * new_data_parallel_size must be > 1 when elastic EP/ePLB is enabled, but got "
                + $"tensor_parallel_size={tensor}, new_data_parallel_size={size}";
        }

        // The reference hands it on to Ray, which has no such cluster and takes the worker down.
        return size > int.MaxValue ? $"new_data_parallel_size must be <= {int.MaxValue}, got: {size}" : null;
    }

    private async Task<JsonObject> ReadCapacityAsync(CancellationToken cancellationToken)
    {
        var now = await _engine.ReadParallelismAsync(cancellationToken).ConfigureAwait(false);
        var answer = new JsonObject { ["status"] = "ok" };
        foreach (var name in (string[])["data_parallel_size", "tensor_parallel_size", "data_parallel_backend", "data_parallel_external_lb"])
        {
            answer[name] = now[name]?.DeepClone();
        }

        // Only Ray has a cluster that can be asked; what is not known is null.
        var gpus =
            now["data_parallel_backend"]?.GetValue<string>() == "ray"
                ? await _engine.ReadGpuCapacityAsync(cancellationToken).ConfigureAwait(false)
                : [];
        foreach (var name in (string[])["total_gpus", "available_gpus", "used_gpus", "nodes"])
        {
            answer[name] = gpus[name]?.DeepClone();
        }

        if (gpus["problem"] is { } problem)
        {
            answer["status"] = "error";
            answer["message"] = problem.DeepClone();
        }

        return answer;
    }

    /// <summary>As Python reads a whole number: 4.0 and "4" are one, true and 1.5 are none.</summary>
    private static BigInteger? ExactInteger(JsonNode value)
    {
        switch (value.GetValueKind())
        {
            case JsonValueKind.Number when BigInteger.TryParse(value.ToJsonString(), NumberStyles.AllowLeadingSign, null, out var whole):
                return whole;
            case JsonValueKind.Number:
                var number = value.GetValue<double>();
                return double.IsInteger(number) ? new BigInteger(number) : null;
            case JsonValueKind.String:
                // Digits may be parted by single underscores.
                var text = value.GetValue<string>().Trim();
                var isParted = text.Contains("__", StringComparison.Ordinal) || text.StartsWith('_') || text.EndsWith('_');
                return
                    !isParted
                    && BigInteger.TryParse(
                        text.Replace("_", "", StringComparison.Ordinal),
                        NumberStyles.AllowLeadingSign,
                        CultureInfo.InvariantCulture,
                        out var parsed
                    )
                    ? parsed
                    : null;
            default:
                return null;
        }
    }
}
