using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>Which traces are kept: those that the caller keeps, and of those that begin here a share.</summary>
internal sealed class SpanSampler
{
    private readonly bool _asksParent;
    private readonly ulong _below;

    /// <param name="asksParent">A trace that came from elsewhere is kept exactly where it is kept there.</param>
    /// <param name="share">Of the others, 0 to 1.</param>
    public SpanSampler(bool asksParent, double share)
    {
        _asksParent = asksParent;
        _below = (ulong)(share * (1UL << 63));
    }

    /// <summary><c>OTEL_TRACES_SAMPLER</c> with its argument; without it the parent decides, and <c>OTEL_TRACES_SAMPLE_RATIO</c>.</summary>
    public static SpanSampler Read(EnvironmentReader reader)
    {
        switch (reader.Text("OTEL_TRACES_SAMPLER"))
        {
            case null:
                return new SpanSampler(true, Share(reader, "OTEL_TRACES_SAMPLE_RATIO"));
            case "always_on":
                return new SpanSampler(false, 1);
            case "always_off":
                return new SpanSampler(false, 0);
            case "traceidratio":
                return new SpanSampler(false, Share(reader, "OTEL_TRACES_SAMPLER_ARG"));
            case "parentbased_always_on":
                return new SpanSampler(true, 1);
            case "parentbased_always_off":
                return new SpanSampler(true, 0);
            case "parentbased_traceidratio":
                return new SpanSampler(true, Share(reader, "OTEL_TRACES_SAMPLER_ARG"));
            case var other:
                reader.Warnings.Add($"OTEL_TRACES_SAMPLER={other} is not known; using parentbased_always_on");
                return new SpanSampler(true, 1);
        }
    }

    public bool Keeps(ActivityTraceId trace, ActivityContext parent)
    {
        if (_asksParent && parent.TraceId != default)
        {
            return parent.TraceFlags.HasFlag(ActivityTraceFlags.Recorded);
        }

        // As every OpenTelemetry library does it, so that all of them keep the same traces.
        Span<byte> bytes = stackalloc byte[16];
        trace.CopyTo(bytes);
        return BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]) >> 1 < _below;
    }

    private static double Share(EnvironmentReader reader, string variable)
    {
        if (reader.Text(variable) is not { } text)
        {
            return 1;
        }

        if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var share) && share is >= 0 and <= 1)
        {
            return share;
        }

        reader.Warnings.Add($"{variable}={text} is not a number from 0 to 1; using 1");
        return 1;
    }
}
