using System.Diagnostics;
using Dynamo.Vllm.UnitTests.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Telemetry;

namespace Dynamo.Vllm.UnitTests.Worker.Telemetry;

public sealed class SpanSamplerTests
{
    private static readonly ActivityTraceId Low = ActivityTraceId.CreateFromString("ffffffffffffffff0000000000000001");
    private static readonly ActivityTraceId High = ActivityTraceId.CreateFromString("0000000000000001ffffffffffffffff");

    [Theory]
    [InlineData("", true, true, true, false)]
    [InlineData("OTEL_TRACES_SAMPLE_RATIO=0.5", true, false, true, false)]
    [InlineData("OTEL_TRACES_SAMPLE_RATIO=0", false, false, true, false)]
    [InlineData("OTEL_TRACES_SAMPLER=always_on", true, true, true, true)]
    [InlineData("OTEL_TRACES_SAMPLER=always_off", false, false, false, false)]
    [InlineData("OTEL_TRACES_SAMPLER=traceidratio;OTEL_TRACES_SAMPLER_ARG=0.5", true, false, true, true)]
    [InlineData("OTEL_TRACES_SAMPLER=parentbased_always_off", false, false, true, false)]
    [InlineData("OTEL_TRACES_SAMPLER=parentbased_traceidratio;OTEL_TRACES_SAMPLER_ARG=0.5", true, false, true, false)]
    public void The_variables_say_what_is_kept(string variables, bool low, bool high, bool sampledParent, bool otherParent)
    {
        var sampler = Read(variables, out var warnings);
        Assert.Equal(low, sampler.Keeps(Low, default));
        Assert.Equal(high, sampler.Keeps(High, default));
        Assert.Equal(sampledParent, sampler.Keeps(Low, Parent(ActivityTraceFlags.Recorded)));
        Assert.Equal(otherParent, sampler.Keeps(Low, Parent(ActivityTraceFlags.None)));
        Assert.Empty(warnings);
    }

    [Theory]
    [InlineData("OTEL_TRACES_SAMPLE_RATIO=2")]
    [InlineData("OTEL_TRACES_SAMPLE_RATIO=x")]
    [InlineData("OTEL_TRACES_SAMPLER=jaeger_remote")]
    public void What_is_not_known_keeps_all_with_a_warning(string variables)
    {
        Assert.True(Read(variables, out var warnings).Keeps(High, default));
        Assert.Contains(variables.Split('=')[0], Assert.Single(warnings), StringComparison.Ordinal);
    }

    private static ActivityContext Parent(ActivityTraceFlags flags) => new(Low, ActivitySpanId.CreateRandom(), flags, isRemote: true);

    private static SpanSampler Read(string variables, out List<string> warnings)
    {
        var environment = variables
            .Split(';', StringSplitOptions.RemoveEmptyEntries)
            .Select(variable => variable.Split('=', 2))
            .ToDictionary(pair => pair[0], pair => pair[1]);
        var reader = new EnvironmentReader(environment, CommandLineSample.Parse().Options);
        warnings = reader.Warnings;
        return SpanSampler.Read(reader);
    }
}
