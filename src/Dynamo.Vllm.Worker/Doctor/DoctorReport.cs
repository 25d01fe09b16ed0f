using System.Text.Json.Serialization;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>All findings, in the order of the checks.</summary>
/// <param name="Problems">How many are problems.</param>
/// <param name="Warnings">How many are warnings.</param>
/// <param name="Seconds">How long it took.</param>
/// <param name="Findings">All.</param>
internal sealed record DoctorReport(int Problems, int Warnings, double Seconds, IReadOnlyList<Finding> Findings);

/// <summary>For <c>--json</c>.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    WriteIndented = true
)]
[JsonSerializable(typeof(DoctorReport))]
internal sealed partial class DoctorReportContext : JsonSerializerContext;
